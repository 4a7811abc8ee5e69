"use strict";
// A table whose rows can be chosen and put in order; what was chosen is in the address, to be sent
// to others. Columns that say data-filter get a box, all get a button. Without this, all rows stand.
for (const table of document.querySelectorAll("table.rows.live")) {
  const form = document.querySelector("form.filters");
  const heads = [...table.tHead.rows[0].cells];
  const rows = [...table.tBodies[0].rows].map((row) => ({
    row,
    texts: [...row.cells].map((cell) => cell.dataset.sort ?? cell.textContent.trim()),
  }));
  const selects = new Map();
  const count = document.createElement("output");
  count.setAttribute("aria-live", "polite");
  let order = "";

  heads.forEach((head, column) => {
    const name = head.dataset.name;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    button.addEventListener("click", () => {
      order = order === name ? `-${name}` : name;
      show();
    });
    head.append(button);
    if (!("filter" in head.dataset)) return;
    const words = [...new Set(rows.map((each) => each.texts[column]))].sort();
    const select = document.createElement("select");
    select.name = name;
    select.append(new Option("all", ""), ...words.map((word) => new Option(word || "none", word || "-")));
    select.addEventListener("change", show);
    const label = document.createElement("label");
    label.append(button.textContent, select);
    form.append(label);
    selects.set(column, select);
  });

  function show() {
    const wanted = [...selects].filter(([, select]) => select.value);
    let shown = 0;
    for (const { row, texts } of rows) {
      row.hidden = wanted.some(([column, select]) => (texts[column] || "-") !== select.value);
      shown += !row.hidden;
    }
    count.textContent = `${shown} of ${rows.length} rows`;
    sort();
    const state = new URLSearchParams(wanted.map(([, select]) => [select.name, select.value]));
    if (order) state.set("sort", order);
    history.replaceState(null, "", `#${state}`);
  }

  function sort() {
    const down = order.startsWith("-");
    const column = heads.findIndex((head) => head.dataset.name === order.slice(down));
    heads.forEach((head) => head.removeAttribute("aria-sort"));
    if (column < 0) return;
    heads[column].setAttribute("aria-sort", down ? "descending" : "ascending");
    const number = heads[column].classList.contains("n");
    const value = (each) => (number ? parseFloat(each.texts[column]) : each.texts[column]);
    const compare = (a, b) => (number ? a - b : a.localeCompare(b));
    const known = (each) => !number || !Number.isNaN(value(each));  // what has no value comes last
    const sorted = rows.filter(known).sort((a, b) => (down ? -1 : 1) * compare(value(a), value(b)));
    table.tBodies[0].append(...sorted.concat(rows.filter((r) => !known(r))).map((each) => each.row));
  }

  function restore() {
    const state = new URLSearchParams(location.hash.slice(1));
    for (const select of selects.values()) {
      select.value = state.get(select.name) ?? "";
      if (select.selectedIndex < 0) select.value = "";
    }
    order = state.get("sort") ?? "";
    show();
  }

  const all = document.createElement("button");
  all.type = "button";
  all.textContent = "Show all";
  all.addEventListener("click", () => {
    for (const select of selects.values()) select.value = "";
    show();
  });
  form.append(all, count);
  form.hidden = false;
  addEventListener("hashchange", restore);
  restore();
}
