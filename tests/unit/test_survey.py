import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from importlib import resources
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from click.testing import CliRunner, Result
from jsonschema import Draft202012Validator

from musllinux_build.adapters.process import Completed
from musllinux_build.adapters.published import PipIndex, parse_report
from musllinux_build.arch import Arch
from musllinux_build.audit.verdict import Finding, FloorReason, Severity
from musllinux_build.cli.survey import survey
from musllinux_build.errors import FetchError, UsageError
from musllinux_build.policy import Policy
from musllinux_build.python import PythonTag
from musllinux_build.survey.charts import percent
from musllinux_build.survey.collect import Fetched, Nothing, collect, plan_tasks, policies_for, survey_task
from musllinux_build.survey.document import survey_json
from musllinux_build.survey.page import survey_page
from musllinux_build.survey.rows import Outcome, Project, Row, Survey
from musllinux_build.survey.table import summary_lines, table_lines
from musllinux_build.survey.tally import by_arch, by_floor, by_rule
from tests.unit.auditing import extension, module_name, put_wheel

SCHEMA = json.loads(resources.files("musllinux_build.survey").joinpath("schema.json").read_text("utf-8"))
TAG = "cp313-cp313-musllinux_1_2_x86_64"


def good(tmp_path: Path, distribution: str = "good") -> Path:
    return put_wheel(tmp_path, {module_name(): extension()}, distribution=distribution, tag=TAG)


def bad(tmp_path: Path, distribution: str = "bad") -> Path:
    return put_wheel(
        tmp_path, {module_name(): extension(relr=True, undefined=["statx"])}, distribution=distribution, tag=TAG
    )


def invoke(tmp_path: Path, *arguments: object) -> Result:
    environment = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "COLUMNS": "80", "SOURCE_DATE_EPOCH": "0"}
    return CliRunner().invoke(survey, [str(argument) for argument in arguments], env=environment)


def test_paths_are_audited_and_told(tmp_path: Path) -> None:
    broken = tmp_path / f"broken-1.0-{TAG}.whl"
    broken.write_bytes(b"no zip")
    pure = put_wheel(tmp_path, {"pure.py": b""}, distribution="pure", tag="py3-none-any")
    out = tmp_path / "out.json"
    result = invoke(tmp_path, good(tmp_path), bad(tmp_path), broken, pure, "--json-file", out)
    assert result.exit_code == 1
    assert "1 of 2 wheels of 2 projects keep the promise" in result.stdout
    assert "symbol-too-new: statx in" in result.stdout
    assert "[4/4]" in result.stderr
    assert max(map(len, result.stdout.splitlines())) <= 80
    document = json.loads(out.read_text())
    Draft202012Validator(SCHEMA).validate(document)
    assert document["date"] == "1970-01-01T00:00:00+00:00"
    assert [row["outcome"] for row in document["rows"]] == ["conforms", "breaks", "unreadable", "pure"]
    assert document["summary"]["archs"] == {"x86_64": {"conforming": 1, "breaking": 1, "absent": 0, "failed": 1}}
    assert document["summary"]["floors"][-1] == {"musl": "1.2.5", "within": 0, "above": 1}
    assert not list((tmp_path / "cache/musllinux-build/survey").iterdir())


def test_the_exit_status_is_that_of_the_worst(tmp_path: Path) -> None:
    broken = tmp_path / f"broken-1.0-{TAG}.whl"
    broken.write_bytes(b"no zip")
    pure = put_wheel(tmp_path, {"pure.py": b""}, distribution="pure", tag="py3-none-any")
    unknown = put_wheel(tmp_path, {module_name(): extension()}, tag="cp313-cp313-musllinux_1_9_x86_64")
    assert invoke(tmp_path, good(tmp_path), pure).exit_code == 0
    assert invoke(tmp_path, good(tmp_path), broken).exit_code == 5
    assert invoke(tmp_path, unknown, good(tmp_path)).exit_code == 2
    assert invoke(tmp_path, broken, bad(tmp_path)).exit_code == 1
    assert invoke(tmp_path, pure).exit_code == 7


def test_json_is_printed_instead_of_the_table(tmp_path: Path) -> None:
    result = invoke(tmp_path, "--json", good(tmp_path), bad(tmp_path))
    document = json.loads(result.stdout)
    Draft202012Validator(SCHEMA).validate(document)
    assert [row["outcome"] for row in document["rows"]] == ["conforms", "breaks"]
    assert result.exit_code == 1


@pytest.mark.parametrize("option", ["--json-file", "--html"])
def test_no_wheel_is_taken_for_the_file_to_write(tmp_path: Path, option: str) -> None:
    wheels = good(tmp_path), bad(tmp_path)
    before = [path.read_bytes() for path in wheels]
    result = invoke(tmp_path, option, *wheels)
    assert isinstance(result.exception, UsageError)
    assert wheels[0].name in result.exception.brief
    assert [path.read_bytes() for path in wheels] == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["none.whl"],
        ["--arch", "x86"],
        ["numpy>=2"],
        ["-q", "numpy", "--python", "new"],
        ["a/b"],
        ["--json-file", "/", "G"],
    ],
)
def test_what_is_typed_wrong_stops_before_anything_is_fetched(tmp_path: Path, arguments: list[str]) -> None:
    path = good(tmp_path)
    words = [str(path) if word == "G" else word for word in arguments]
    result = invoke(tmp_path, *words, *([path] if "--arch" in words else []))
    assert isinstance(result.exception, UsageError) or result.exit_code == 2


def test_a_library_can_be_trusted_to_be_everywhere(tmp_path: Path) -> None:
    path = put_wheel(tmp_path, {module_name(): extension(needed=["libz.so.1"])}, tag=TAG)
    refused = invoke(tmp_path, path)
    assert refused.exit_code == 1
    assert "library-of-the-system: libz.so.1" in refused.stdout
    assert invoke(tmp_path, path, "--whitelist", "libz.so.1").exit_code == 0


def survey_of(*rows: Row) -> Survey:
    return Survey(rows=rows, date=datetime(2026, 1, 2, tzinfo=UTC), tool="test")


def test_counts_per_architecture_rule_and_floor(tmp_path: Path) -> None:
    tasks = plan_tasks([str(good(tmp_path)), str(bad(tmp_path))], ())
    rows = [survey_task(task, Shelf({}), None) for task in tasks]
    gone = Row(asked="x", outcome=Outcome.ABSENT, arch=Arch.S390X, reason="none")
    shares = by_arch([*rows, gone])
    assert (shares[Arch.X86_64].conforming, shares[Arch.X86_64].audited, shares[Arch.S390X].absent) == (1, 2, 1)
    assert [(count.rule, count.wheels) for count in by_rule(rows) if count.severity.value == "error"] == [
        ("relr", 1),
        ("symbol-too-new", 1),
    ]
    assert [(str(count.floor), count.within, count.above) for count in by_floor(rows)] == [
        ("1.1.16", 1, 0),
        ("1.2.5", 0, 1),
    ]
    assert survey_of(gone).exit_code == 12
    assert survey_of(gone, rows[0]).exit_code == 0


class Shelf:
    """An index of what a test puts into it; remembers what was asked for."""

    def __init__(self, wheels: dict[tuple[str, Arch], Path | FetchError]) -> None:
        self.wheels = wheels
        self.asked: list[tuple[Arch, tuple[Policy, ...]]] = []

    def fetch(self, project: Project, arch: Arch, policies: Sequence[Policy]) -> Fetched | Nothing:
        self.asked.append((arch, tuple(policies)))
        found = self.wheels.get((project.name, arch))
        if isinstance(found, FetchError):
            raise found
        return Fetched(path=found, python="3.13") if found else Nothing(outcome=Outcome.ABSENT, reason="none")


def test_projects_become_a_row_per_architecture_and_failures_stay_rows(tmp_path: Path) -> None:
    shelf = Shelf(
        {("good", Arch.X86_64): good(tmp_path), ("down", Arch.S390X): FetchError("no network", details="a\nrefused")}
    )
    tasks = plan_tasks(["good", "down", "good"], (Arch.X86_64, Arch.S390X))
    told: list[int] = []
    rows = collect(tasks, lambda task: survey_task(task, shelf, None), jobs=3, tell=lambda done, row: told.append(done))
    assert [(row.asked, row.arch, row.outcome) for row in rows] == [
        ("good", Arch.X86_64, Outcome.CONFORMS),
        ("good", Arch.S390X, Outcome.ABSENT),
        ("down", Arch.X86_64, Outcome.ABSENT),
        ("down", Arch.S390X, Outcome.UNFETCHED),
    ]
    assert rows[3].reason == "no network: refused"
    assert (rows[0].version, rows[0].python) == ("1.0", "3.13")
    assert told == [1, 2, 3, 4]
    assert not list(tmp_path.glob("*.whl"))
    Draft202012Validator(SCHEMA).validate(survey_json(survey_of(*rows)))


def test_a_policy_takes_what_its_musl_takes() -> None:
    assert policies_for(None) == (Policy.MUSLLINUX_1_2, Policy.MUSLLINUX_1_1)
    assert policies_for(Policy.MUSLLINUX_1_1) == (Policy.MUSLLINUX_1_1,)


@pytest.mark.parametrize(("text", "parsed"), [("numpy", ("numpy", None)), ("A.b-c==2.0+x", ("A.b-c", "2.0+x"))])
def test_projects_parse_and_format(text: str, parsed: tuple[str, str | None]) -> None:
    project = Project.parse(text)
    assert (project.name, project.version) == parsed
    assert str(project) == text


WHEEL = b"a wheel"
DIGEST = hashlib.sha256(WHEEL).hexdigest()


class Pip:
    """A pip whose index has ``tags`` of one project; ``log`` is what it writes when nothing fits."""

    def __init__(self, *tags: str, log: str = "", said: bytes = b"No matching distribution found for demo") -> None:
        self.tags, self.log, self.said = tags, log, said
        self.asked: list[str] = []

    def __call__(self, argv: Sequence[str]) -> Completed:
        version = argv[argv.index("--python-version") + 1]
        platforms = [argv[at + 1] for at, word in enumerate(argv) if word == "--platform"]
        self.asked.append(version)
        wanted = [f"cp{version.replace('.', '')}-cp{version.replace('.', '')}-{plat}" for plat in platforms]
        found = next((tag for tag in [*wanted, "py3-none-any"] if tag in self.tags), None)
        if found is None:
            skipped = "".join(
                f"  Skipping link: none of the wheel's tags ({tag}) are compatible\n" for tag in self.tags
            )
            Path(argv[argv.index("--log") + 1]).write_text(skipped + self.log)
            return Completed(argv=tuple(argv), returncode=1, stdout=b"", stderr=self.said)
        if "download" in argv:
            (directory := Path(argv[argv.index("-d") + 1])).mkdir()
            (directory / f"demo-1.0-{found}.whl").write_bytes(WHEEL)
            return Completed(argv=tuple(argv), returncode=0, stdout=b"", stderr=b"")
        url = f"https://x/demo-1.0-{found}.whl?a=b"
        download = {"url": url, "archive_info": {"hashes": {"sha256": DIGEST}}}
        item = {"metadata": {"name": "demo", "version": "1.0"}, "download_info": download}
        Path(argv[argv.index("--report") + 1]).write_text(json.dumps({"install": [item]}))
        return Completed(argv=tuple(argv), returncode=0, stdout=b"", stderr=b"")


def ask(tmp_path: Path, pip: Pip, arch: Arch = Arch.X86_64) -> Fetched | Nothing:
    pythons = tuple(PythonTag(3, minor) for minor in (15, 14, 13))
    index = PipIndex(cache=tmp_path / "cache", directory=tmp_path / "wheels", pythons=pythons, run=pip)
    return index.fetch(Project(name="demo"), arch, policies_for(None))


def test_the_newest_python_with_a_wheel_is_taken_and_its_wheel_kept(tmp_path: Path) -> None:
    pip = Pip(TAG)
    found = ask(tmp_path, pip)
    assert isinstance(found, Fetched)
    assert (found.python, found.path.name, found.path.read_bytes()) == ("3.13", f"demo-1.0-{TAG}.whl", WHEEL)
    assert pip.asked == ["3.15", "3.13", "3.13"]  # pip's log said that there is none for 3.14
    found.path.unlink()
    again = Pip(TAG)
    assert ask(tmp_path, again) == found
    assert again.asked == ["3.15", "3.13"]  # the cache has it: nothing is downloaded


@pytest.mark.parametrize(
    ("pip", "outcome", "reason"),
    [
        (Pip("py3-none-any"), Outcome.PURE, "pip takes demo-1.0-py3-none-any.whl"),
        (Pip("cp39-cp39-musllinux_1_2_x86_64"), Outcome.ABSENT, "for the CPython asked for"),
        (Pip("cp315-cp315-musllinux_1_2_s390x"), Outcome.ABSENT, "for this architecture"),
        (Pip(), Outcome.ABSENT, "pip finds no wheel"),
        (Pip(said=b"(from versions: 2.0)\nNo matching distribution found for x"), Outcome.ABSENT, "of this version"),
        (Pip(log="Could not fetch URL https://x/: 404 Client Error - skipping\n"), Outcome.ABSENT, "no index has demo"),
    ],
)
def test_what_is_not_there_is_no_failure(tmp_path: Path, pip: Pip, outcome: Outcome, reason: str) -> None:
    found = ask(tmp_path, pip)
    assert isinstance(found, Nothing)
    assert found.outcome is outcome
    assert reason in found.reason


@pytest.mark.parametrize(
    ("pip", "details"),
    [
        (
            Pip(log="Could not fetch URL https://x/demo/: connection error: refused - skipping\n"),
            "x: connection error: refused",
        ),
        (Pip(said=b"ERROR: no such option"), "no such option"),
    ],
)
def test_an_index_that_does_not_answer_is_one(tmp_path: Path, pip: Pip, details: str) -> None:
    with pytest.raises(FetchError) as caught:
        ask(tmp_path, pip)
    assert details in caught.value.details


def test_a_free_threaded_python_is_named_to_pip_both_times(tmp_path: Path) -> None:
    asked: list[tuple[str, ...]] = []
    pip = Pip(TAG)

    def run(argv: Sequence[str]) -> Completed:
        asked.append(tuple(argv))
        return pip(argv)

    index = PipIndex(cache=tmp_path / "c", directory=tmp_path / "w", pythons=(PythonTag(3, 13, True),), run=run)
    assert isinstance(index.fetch(Project(name="demo"), Arch.X86_64, policies_for(None)), Fetched)
    assert [argv[argv.index("--abi") + 1] for argv in asked] == ["cp313t", "cp313t"]


@pytest.mark.parametrize("report", ["{}", '{"install": []}', "no json"])
def test_reports_without_a_hash_are_refused(report: str) -> None:
    with pytest.raises(FetchError):
        parse_report(report, "demo")


NASTY = "</script><script>alert(1)</script>\"'&<img src=x onerror=alert(2)>\x1b[2J\u202e\x00"


class Tags(HTMLParser):
    """What a browser would see in a page: elements with their attributes, and the text outside of them."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


def nasty_rows(tmp_path: Path) -> list[Row]:
    """A verdict and failures in which every text that comes from outside is hostile."""
    row = survey_task(plan_tasks([str(bad(tmp_path))], ())[0], Shelf({}), None)
    assert row.verdict is not None
    finding = Finding(
        rule="relr", severity=Severity.ERROR, file=NASTY, message=NASTY, evidence=NASTY, remedy=NASTY, chain=(NASTY,)
    )
    reason = FloorReason(version=row.verdict.floor, cause=NASTY, file=NASTY)
    verdict = replace(row.verdict, wheel=NASTY, findings=[finding] * 9, reasons=[reason])
    texts = {"asked": NASTY, "project": NASTY, "version": NASTY, "wheel": NASTY, "python": NASTY}
    failed = Row(outcome=Outcome.UNREADABLE, reason=NASTY, arch=Arch.I686, **texts)  # type: ignore[arg-type] # texts only
    return [replace(row, verdict=verdict, **texts), failed]  # type: ignore[arg-type] # texts only


def test_hostile_names_are_text_on_the_page_and_in_the_terminal(tmp_path: Path) -> None:
    rows = nasty_rows(tmp_path)
    page = survey_page(survey_of(*rows))
    tags = Tags()
    tags.feed(page)
    assert [tag for tag, _ in tags.elements].count("script") == 1
    assert not {"img", "iframe", "link", "object"} & {tag for tag, _ in tags.elements}
    attributes = {name for _, attrs in tags.elements for name in attrs}
    assert not {name for name in attributes if name.startswith("on") or name in {"src", "href", "style", "action"}}
    assert tags.words.count("alert(2)") >= 9
    assert not {"\x1b", "\u202e", "\x00"} & set(page)
    shown = [
        *(word for line in table_lines(rows) for word in (*line.cells, *line.below)),
        *summary_lines(survey_of(*rows)),
    ]
    assert all(word.isprintable() for word in shown)


def test_the_page_needs_nothing_else_and_allows_only_its_own_script(tmp_path: Path) -> None:
    rows = [survey_task(task, Shelf({}), None) for task in plan_tasks([str(bad(tmp_path))], ())]
    page = survey_page(survey_of(*rows, Row(asked="x", outcome=Outcome.ABSENT, arch=Arch.S390X, reason="none")))
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    assert "default-src 'none'" in page
    assert not re.findall(r"https?:|url\(|@import", page)
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        assert ET.fromstring(svg).find("title") is not None
    assert page.count("<svg") == 3
    assert "0 of 1 · 0%" in page
    assert "no wheels" in page


def test_the_page_says_of_a_refused_wheel_on_no_musl_that_it_loads(tmp_path: Path) -> None:
    other = put_wheel(tmp_path, {module_name(): extension(Arch.AARCH64)}, distribution="other", tag=TAG)
    refused, fine = (
        survey_page(survey_of(survey_task(plan_tasks([str(path)], ())[0], Shelf({}), None)))
        for path in (other, good(tmp_path))
    )
    assert "Loads on musl 1.1.16 and later" in fine
    assert "Loads on musl" not in refused


def test_wheels_that_promise_no_musllinux_are_rows_without_a_verdict(tmp_path: Path) -> None:
    many = put_wheel(tmp_path, {module_name(): extension()}, tag="cp313-cp313-manylinux_2_17_x86_64")
    win = put_wheel(tmp_path, {"x.pyd": b"MZ"}, tag="cp313-cp313-win_amd64")
    mixed = invoke(tmp_path, "--json", many, win, good(tmp_path))
    document = json.loads(mixed.stdout)
    Draft202012Validator(SCHEMA).validate(document)
    assert mixed.exit_code == 0
    assert [(row["outcome"], row["arch"]) for row in document["rows"]] == [
        ("no-promise", None),
        ("no-promise", None),
        ("conforms", "x86_64"),
    ]
    assert document["summary"]["archs"] == {"x86_64": {"conforming": 1, "breaking": 0, "absent": 0, "failed": 0}}
    alone = invoke(tmp_path, many)
    assert (alone.exit_code, "promises no musllinux" in alone.stdout) == (2, True)
    assert invoke(tmp_path, "--policy", "musllinux_1_2", many).exit_code == 0
    page = survey_page(survey_of(*(survey_task(task, Shelf({}), None) for task in plan_tasks([str(many)], ()))))
    assert "<strong>1</strong> not audited: they promise no musllinux" in page
    assert "could not be fetched or read" not in page


@pytest.mark.parametrize(
    ("part", "whole", "told"), [(0, 0, "0%"), (1, 3, "33%"), (1, 999, "1%"), (998, 999, "99%"), (9, 9, "100%")]
)
def test_all_and_none_are_said_only_when_true(part: int, whole: int, told: str) -> None:
    assert percent(part, whole) == told
