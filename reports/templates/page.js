/* Sorts a table by a click or Enter on a head, and shows at once what a mark's <title> tells.
   Without it the page is whole: tables in their first order, titles as the browser shows them. */
"use strict";
(() => {
  const missing = new Set(["", "\u2014", "n/a", "unknown"]);

  /* What a cell is sorted by: its text without the small print; of a number its unit as well. */
  const keyOf = (cell) => {
    const large = [...cell.childNodes].filter((node) => node.nodeName !== "SMALL");
    const text = large.map((node) => node.textContent).join("").trim().replaceAll("\u00a0", " ");
    if (missing.has(text)) return null;
    if (/^(from none|\u221e)/.test(text)) return { text, number: Infinity, unit: "" };
    if (text === "-\u221e") return { text, number: -Infinity, unit: "" };
    const found = text.match(/^(x |[#\u2265\u2264<>~]? ?)([+-]?[\d,]*\.?\d+(?:e[+-]?\d+)?)(?:( ?%| .*)|)$/);
    if (!found) return { text };
    const number = Number(found[2].replaceAll(",", ""));
    /* "x 3.2" stands among "+12 %". */
    if (found[1] === "x ") return { text, number: 100 * (number - 1), unit: "%" };
    return { text, number, unit: (found[3] ?? "").trim().replace(/^of .*/, "") };
  };

  const compare = (a, b, numbers) => {
    if (!numbers) return a.text.localeCompare(b.text, "en", { numeric: true });
    const finite = Number.isFinite(a.number) && Number.isFinite(b.number);
    if (finite && a.unit !== b.unit) return a.unit.localeCompare(b.unit);
    return a.number === b.number ? 0 : a.number - b.number; /* infinity less itself is no number */
  };

  const sort = (table, column, direction) => {
    const body = table.tBodies[0];
    const keyed = table.firstOrder.map((row) => ({ row, key: keyOf(row.cells[column]) }));
    if (direction) {
      const known = keyed.filter(({ key }) => key);
      const numbers = known.every(({ key }) => "number" in key);
      const sign = direction === "ascending" ? 1 : -1;
      known.sort((a, b) => sign * compare(a.key, b.key, numbers));
      keyed.splice(0, Infinity, ...known, ...keyed.filter(({ key }) => !key));
    }
    body.append(...keyed.map(({ row }) => row));
  };

  for (const table of document.querySelectorAll("table")) {
    if (!table.tHead || table.tBodies[0].rows.length < 2) continue;
    table.firstOrder = [...table.tBodies[0].rows];
    const heads = [...table.tHead.rows[0].cells];
    heads.forEach((head, column) => {
      const button = document.createElement("button");
      button.type = "button";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const now = head.getAttribute("aria-sort");
        const next = { ascending: "descending", descending: "" }[now] ?? "ascending";
        heads.forEach((each) => each.removeAttribute("aria-sort"));
        if (next) head.setAttribute("aria-sort", next);
        sort(table, column, next);
      });
    });
  }

  const tip = document.body.appendChild(document.createElement("div"));
  tip.className = "tip";
  tip.hidden = true;
  for (const title of document.querySelectorAll("figure title")) {
    title.parentNode.dataset.tip = title.textContent;
    title.remove(); /* or the browser would show it as well */
  }
  const show = (event) => {
    const text = event.target.closest?.("[data-tip]")?.dataset.tip;
    tip.hidden = !text;
    if (!text) return;
    tip.textContent = text;
    const left = Math.min(event.clientX + 12, document.documentElement.clientWidth - tip.offsetWidth - 4);
    const below = event.clientY + 18;
    const fits = below + tip.offsetHeight < window.innerHeight;
    tip.style.left = `${Math.max(4, left)}px`;
    tip.style.top = `${fits ? below : event.clientY - tip.offsetHeight - 8}px`;
  };
  document.addEventListener("pointermove", show);
  document.addEventListener("pointerdown", show);
  document.addEventListener("scroll", () => { tip.hidden = true; }, { capture: true, passive: true });
})();
