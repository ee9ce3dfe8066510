// Click a heading: rising, falling, as it was. Empty cells stay last. Without this script the tables are whole, unsorted.
for (const table of document.querySelectorAll("table.sortable")) {
  const body = table.tBodies[0], asItWas = [...body.rows], headings = [...table.tHead.rows[0].cells];
  const key = (row, column) => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
  const sorted = (column, sign) => {
    const keyed = asItWas.map((row) => [key(row, column), row]);
    const filled = keyed.filter(([value]) => value !== ""), empty = keyed.filter(([value]) => value === "");
    const numbers = filled.every(([value]) => Number.isFinite(Number(value)));
    const compare = numbers ? (a, b) => a - b : (a, b) => a.localeCompare(b, "en", { numeric: true });
    return [...filled.sort(([a], [b]) => sign * compare(a, b)), ...empty].map(([, row]) => row);
  };
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const next = { ascending: "descending", descending: "none" }[heading.ariaSort] ?? "ascending";
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      if (next !== "none") heading.setAttribute("aria-sort", next);
      body.append(...(next === "none" ? asItWas : sorted(column, next === "ascending" ? 1 : -1)));
    });
  });
}
