"use strict";
(() => {
  const table = document.querySelector("table"), body = table.tBodies[0], form = document.querySelector("form");
  const rows = Array.from(body.rows), output = form.querySelector("output");
  const order = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const texts = new Map(rows.map((row) => [row, row.textContent.toLowerCase()]));

  function filter() {
    const words = form.elements.words.value.toLowerCase().split(/\s+/).filter(Boolean);
    const arch = form.elements.arch.value, verdict = form.elements.verdict.value;
    let shown = 0;
    for (const row of rows) {
      const fits = (!arch || row.dataset.arch.split(" ").includes(arch)) && (!verdict || row.dataset.verdict === verdict)
        && words.every((word) => texts.get(row).includes(word));
      row.hidden = !fits;
      shown += fits;
    }
    output.textContent = `${shown} of ${rows.length} lines`;
  }

  function key(row, column) {
    const cell = row.cells[column];
    return cell.dataset.key ?? cell.textContent;
  }

  function sort(heading, column) {
    const down = heading.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", down ? "descending" : "ascending");
    // What has nothing in this column stays last, whichever way it is sorted.
    const filled = rows.filter((row) => key(row, column)), empty = rows.filter((row) => !key(row, column));
    filled.sort((one, two) => (down ? -1 : 1) * order.compare(key(one, column), key(two, column)));
    body.append(...filled, ...empty);
  }

  // A narrow window shows rows as blocks, and browsers then forget that this is a table.
  table.setAttribute("role", "table");
  for (const part of [table.tHead, body]) part.setAttribute("role", "rowgroup");
  for (const row of table.rows) {
    row.setAttribute("role", "row");
    for (const cell of row.cells) {
      cell.setAttribute("role", { col: "columnheader", row: "rowheader" }[cell.scope] ?? "cell");
    }
  }

  Array.from(table.tHead.rows[0].cells).forEach((heading, column) => {
    const button = heading.querySelector("button");
    button.disabled = false;
    button.addEventListener("click", () => sort(heading, column));
  });
  form.addEventListener("input", filter);
  form.addEventListener("submit", (event) => event.preventDefault());
  form.reset();
  form.hidden = false;
  filter();
})();
