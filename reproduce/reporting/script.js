"use strict";
// sort a table by the column whose heading is pressed; numbers as numbers
function key(row, column) {
  const cell = row.cells[column];
  const text = (cell ? cell.dataset.sort ?? cell.textContent : "").trim().replace("\u2212", "-");
  const number = /^[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?/i.exec(text);
  return { text, number: number ? Number(number[0]) : null };
}
function order(a, b) {
  if (a.number !== null && b.number !== null) return a.number - b.number;
  if (a.number !== null) return -1;
  if (b.number !== null) return 1;
  return a.text.localeCompare(b.text);
}
function sort(table, column, heading) {
  const down = heading.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  heading.setAttribute("aria-sort", down ? "descending" : "ascending");
  const body = table.tBodies[0];
  const rows = [...body.rows].map((row) => ({ row, key: key(row, column) }));
  const empty = rows.filter((own) => own.key.text === "");
  const full = rows.filter((own) => own.key.text !== "");
  full.sort((a, b) => (down ? -1 : 1) * order(a.key, b.key));
  body.append(...full.map((own) => own.row), ...empty.map((own) => own.row));
}
for (const table of document.querySelectorAll("table.sortable")) {
  [...table.tHead.rows[0].cells].forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => sort(table, column, heading));
  });
}
// show only the rows of the overall table that hold a text and a state
const filter = document.getElementById("filter");
const numbers = document.getElementById("numbers");
if (filter && numbers) {
  filter.hidden = false;
  const said = filter.querySelector("output");
  const apply = () => {
    const text = filter.elements.text.value.toLowerCase();
    const state = filter.elements.state.value;
    let shown = 0;
    for (const row of numbers.tBodies[0].rows) {
      const fits = row.textContent.toLowerCase().includes(text) && row.dataset.states.includes(state);
      row.hidden = !fits;
      shown += fits;
    }
    said.textContent = `${shown} of ${numbers.tBodies[0].rows.length} shown`;
  };
  filter.addEventListener("input", apply);
  filter.addEventListener("submit", (event) => event.preventDefault());
  apply();
}
// a link to a run opens what folds it
function unfold() {
  const target = location.hash.length > 1 && document.getElementById(location.hash.slice(1));
  for (let node = target; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
  if (target) target.scrollIntoView();
}
addEventListener("hashchange", unfold);
unfold();
