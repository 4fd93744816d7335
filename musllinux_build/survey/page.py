"""A survey as one HTML page that needs nothing else: no address in it is ever fetched.

All texts come from wheels and indexes, so each goes through ``text``; the page's own policy forbids every resource
and every script but the one whose hash it names.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from importlib import resources

from musllinux_build.audit.catalogue import RULES
from musllinux_build.audit.verdict import Finding, Severity, Verdict
from musllinux_build.policy import Policy
from musllinux_build.survey.charts import floor_chart, percent, rule_chart, share_chart, text
from musllinux_build.survey.rows import FAILURES, Outcome, Row, Survey
from musllinux_build.survey.table import WORDS, floor_word, grouped
from musllinux_build.survey.tally import by_arch, by_floor, by_rule, reasons

SHADES = {Outcome.CONFORMS: "good", Outcome.BREAKS: "bad"}
SHOWN_FINDINGS = 6
"""Per rule and wheel; the JSON has all."""
SHOWN_EVIDENCE = 12
TITLE = "Do musllinux wheels keep their promise?"


def survey_page(survey: Survey) -> str:
    """The whole page."""
    style, script = _shipped("page.css"), _shipped("page.js")
    policy = f"default-src 'none'; style-src '{_hash(style)}'; script-src '{_hash(script)}'; base-uri 'none'"
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{policy}; form-action \'none\'">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{TITLE}</title><style>{style}</style></head><body>",
            f"<header><h1>{TITLE}</h1>{_lead(survey)}</header>",
            f"<main>{_tiles(survey)}{_charts(survey)}{_table(survey)}{_glossary(survey)}</main>",
            f"<footer>{_footer(survey)}</footer>",
            f"<script>{script}</script></body></html>",
            "",
        ]
    )


def _shipped(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text("utf-8")


def _hash(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def _lead(survey: Survey) -> str:
    policies = sorted({row.verdict.policy for row in survey.audited if row.verdict}, key=lambda item: item.value)
    measured = _listed([_promise(policy) for policy in policies])
    how = f" Here that is {measured}." if measured else ""
    return (
        "<p>The tag <code>musllinux_X_Y</code> on a wheel says that it loads on every mainstream Linux with musl X.Y "
        f"or later, so the oldest one decides.{text(how)} Each wheel was measured against it by reading its ELF files; "
        "nothing in it was executed.</p>"
    )


def _promise(policy: Policy) -> str:
    promised = ", ".join(f"{name.capitalize()} {branch}" for name, branch in policy.row.promises.items())
    return f"musl {policy.row.floor} ({promised}) for {policy.value}"


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _tiles(survey: Survey) -> str:
    audited = survey.audited
    conforming = sum(row.outcome is Outcome.CONFORMS for row in audited)
    absent = sum(row.outcome in {Outcome.ABSENT, Outcome.PURE} for row in survey.rows)
    failed = sum(row.outcome in FAILURES for row in survey.rows)
    unpromised = len(survey.rows) - len(audited) - absent - failed
    projects = len({row.project.lower() for row in audited})
    tiles = [
        (f"{len(audited)}", f"wheels of {projects} projects audited", ""),
        (f"{conforming}", f"keep their promise ({percent(conforming, len(audited))})", "good"),
        (f"{len(audited) - conforming}", f"break it ({percent(len(audited) - conforming, len(audited))})", "bad"),
        (f"{absent}", "asked for, but there is no musllinux wheel", "quiet"),
    ]
    if unpromised:
        tiles.append((f"{unpromised}", "not audited: they promise no musllinux", "quiet"))
    if failed:
        tiles.append((f"{failed}", "could not be fetched or read", "quiet"))
    items = (f'<li class="{shade}"><strong>{number}</strong> {told}</li>' for number, told, shade in tiles)
    return f'<ul class="tiles">{"".join(items)}</ul>'


def _charts(survey: Survey) -> str:
    rules = by_rule(survey.rows)
    severities = {count.severity for count in rules}
    marks = [("bad", "breaks the promise"), ("warn", "may fail in some process"), ("quiet", "worth knowing")]
    used = [mark for mark, severity in zip(marks, Severity, strict=True) if severity in severities]
    kept = [("good", "keeps its promise"), ("bad", "breaks it")]
    needs = [("good", "no more than it promises"), ("bad", "more than it promises")]
    figures = [
        ("Conforming, by architecture", kept, share_chart(by_arch(survey.rows))),
        ("Wheels, by what was found", used, rule_chart(rules)),
        ("Wheels, by the musl they need", needs, floor_chart(by_floor(survey.rows))),
    ]
    drawn = (
        f"<figure><figcaption>{text(title)}</figcaption>{_legend(legend)}{chart}</figure>"
        for title, legend, chart in figures
    )
    return f'<section class="charts" aria-label="Charts">{"".join(drawn)}</section>'


def _legend(marks: Sequence[tuple[str, str]]) -> str:
    items = (f'<li><span class="mark {shade}"></span>{text(told)}</li>' for shade, told in marks)
    return f'<ul class="legend">{"".join(items)}</ul>'


def _table(survey: Survey) -> str:
    headings = ("Project", "Version", "Tag", "Verdict", "Needs musl", "Why")
    cells = (f'<th scope="col"><button type="button" disabled>{heading}</button></th>' for heading in headings)
    archs = "".join(f"<option>{arch.value}</option>" for arch in by_arch(survey.rows))
    outcomes = dict.fromkeys(WORDS[row.outcome].lower() for row in survey.rows)
    words = "".join(f"<option>{text(word)}</option>" for word in outcomes)
    return (
        '<section aria-labelledby="wheels"><h2 id="wheels">Wheels</h2><form hidden>'
        '<label>Search <input type="search" name="words" placeholder="project, rule, symbol, file"></label>'
        f'<label>Architecture <select name="arch"><option value="">all</option>{archs}</select></label>'
        f'<label>Verdict <select name="verdict"><option value="">all</option>{words}</select></label>'
        '<output aria-live="polite"></output></form>'
        f"<table><thead><tr>{''.join(cells)}</tr></thead>"
        f"<tbody>{''.join(_rows(survey.rows))}</tbody></table></section>"
    )


def _rows(rows: Sequence[Row]) -> Iterator[str]:
    """One table row per verdict; architectures for which there is none for the same reason share one."""
    for group in grouped(rows):
        row = group[0]
        archs = [item.arch.value for item in group if item.arch]
        tag, floor, key, why = ", ".join(archs), "", "", text(row.reason)
        if row.verdict:
            tag, floor = row.verdict.policy.platform_tag(row.verdict.arch), floor_word(row.verdict)
            release = row.verdict.floor
            key = f"{release.major:03d}{release.minor:03d}{release.patch:03d}"
            why = "".join(_why(row, row.verdict))
        word, shade = WORDS[row.outcome].lower(), SHADES.get(row.outcome, "quiet")
        yield (
            f'<tr data-arch="{" ".join(archs)}" data-verdict="{word}">'
            f'<th scope="row">{text(row.project or row.asked)}</th>'
            f"<td>{text(row.version)}</td>"
            f'<td class="tag">{text(tag)}</td>'
            f'<td><span class="badge {shade}">{word}</span></td>'
            f'<td data-key="{key}">{floor}</td><td class="why">{why}</td></tr>'
        )


def _why(row: Row, verdict: Verdict) -> Iterator[str]:
    """What was found, folded; every wheel has it, so that each figure of the page can be followed."""
    errors = ", ".join(why.rule for why in reasons(verdict))
    others = len(verdict.findings) - len(verdict.errors)
    told = errors or (f"{others} remark{'s' if others != 1 else ''}" if others else "nothing found")
    yield f"<details><summary>{text(told)}</summary>"
    made_for = f", for CPython {text(row.python)}" if row.python else ""
    yield f'<p class="file">{text(row.wheel)}{made_for}; {row.size:,} bytes, {verdict.objects} ELF objects</p>'
    strongest = [reason for reason in verdict.reasons if reason.version == verdict.floor]
    if strongest:
        causes = _cut([f"{reason.cause} in {reason.file}" for reason in strongest], 3)
        yield f"<p>Loads on musl {verdict.floor} and later, because of {text(causes)}.</p>"
    elif verdict.conforms:
        yield f"<p>Loads on musl {verdict.floor} and later, and perhaps on older ones.</p>"
    for severity in Severity:
        for why in reasons(verdict, severity):
            found = [item for item in verdict.findings if (item.rule, item.severity) == (why.rule, severity)]
            yield from _findings(found)
    yield "</details>"


def _findings(found: Sequence[Finding]) -> Iterator[str]:
    """The findings of one rule, and what to do about them."""
    first = found[0]
    count = f" ×{len(found)}" if len(found) > 1 else ""
    yield f'<p class="rule {first.severity.value}"><b>{text(first.rule)}</b> {first.severity.value}{count}</p><ul>'
    for finding in found[:SHOWN_FINDINGS]:
        yield f"<li><code>{text(finding.file)}</code> {text(finding.message)}</li>"
    if len(found) > SHOWN_FINDINGS:
        rest = list(dict.fromkeys(finding.evidence for finding in found[SHOWN_FINDINGS:]))
        yield f"<li>and {len(found) - SHOWN_FINDINGS} more: {text(_cut(rest, SHOWN_EVIDENCE))}</li>"
    yield f'</ul><p class="remedy">{text(first.remedy)}.</p>'


def _cut(items: Sequence[str], most: int) -> str:
    return ", ".join(items[:most]) + (f" and {len(items) - most} more" if len(items) > most else "")


def _glossary(survey: Survey) -> str:
    """What the rules are that found something; those of a newer tool's rows are left out."""
    found = {count.rule for count in by_rule(survey.rows)}
    rules = (rule for rule in RULES if rule.id in found)
    items = (
        f"<div><dt>{text(rule.id)}</dt><dd>{text(rule.summary)} <span>({text(rule.source)})</span></dd></div>"
        for rule in rules
    )
    listed = "".join(items)
    return f'<section aria-labelledby="rules"><h2 id="rules">Rules</h2><dl>{listed}</dl></section>' if listed else ""


def _footer(survey: Survey) -> str:
    when = f'<time datetime="{survey.date.isoformat()}">{survey.date:%Y-%m-%d %H:%M} UTC</time>'
    return f"<p>Made by {text(survey.tool)} on {when}. A wheel's verdict says nothing about its quality elsewhere.</p>"
