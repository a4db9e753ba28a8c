// Candidates of a search as a table: choose a row, open what else is known of it.

const COLUMNS = [
  ["rank", "No."],
  ["twist", "Twist (°)"],
  ["rise", "Rise (Å)"],
  ["point_group", "Group"],
  ["score", "Score"],
  ["pitch", "Pitch (Å)"],
  ["subunits", "Subunits/turn"],
  ["hand", "Hand"],
];

const listOf = (texts) => element("ul", {}, ...texts.map((text) => element("li", { textContent: text })));

function rivalText({ rivals }) {
  if (!rivals.length) return "";
  return `This map cannot tell it from ${rivals.length > 1 ? "numbers" : "number"} ${rivals.join(", ")}.`;
}

function detailsOf(row) {
  const parts = [];
  if (row.notes.length) parts.push(element("strong", { textContent: "Remarks" }), listOf(row.notes));
  if (row.equivalents) parts.push(element("strong", { textContent: "The same symmetry in other words" }), listOf([row.equivalents]));
  if (!parts.length) parts.push("Nothing more is known of it.");
  return parts;
}

function render({ model, el }) {
  const warnings = element("div", { role: "status" });
  const body = element("tbody");
  const head = element("tr", {}, ...COLUMNS.map(([, text]) => element("th", { textContent: text, scope: "col" })), element("th"));
  const table = element("table", { className: "helixlab-table" }, element("thead", {}, head), body);
  const empty = element("p", { className: "helixlab-readout" });
  const opened = new Set();

  function choose(index) {
    model.set("chosen", index);
    model.set("marked", index);
    model.save_changes();
  }

  function toggle(index) {
    if (!opened.delete(index)) opened.add(index);
    mark();
  }

  function onKey(event, index) {
    if (event.target !== event.currentTarget) return;
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (event.key === "Enter" || event.key === " ") choose(index);
    else if (event.key === "ArrowRight" && !opened.has(index)) toggle(index);
    else if (event.key === "ArrowLeft" && opened.has(index)) toggle(index);
    else if (step) body.querySelectorAll("tr[tabindex]")[index + step]?.focus();
    else return;
    event.preventDefault();
    event.stopPropagation(); // JupyterLab moves between cells with the same keys
  }

  function linesOf(row, index) {
    const cells = COLUMNS.map(([key, heading]) =>
      element("td", { "data-label": heading, "data-column": key, textContent: key === "rank" ? `${index + 1}` : row[key] }),
    );
    const more = element("button", {
      type: "button",
      textContent: "▸",
      title: "Remarks, and the same symmetry in other words",
      ariaLabel: `More about number ${index + 1}`,
      onclick: (event) => {
        event.stopPropagation();
        toggle(index);
      },
    });
    const line = element("tr", { tabIndex: 0, onclick: () => choose(index), onkeydown: (event) => onKey(event, index) });
    line.append(...cells, element("td", { className: "helixlab-row-actions" }, more));
    const lines = [line];
    const rivals = rivalText(row);
    if (rivals) lines.push(wideLine("helixlab-rivals", rivals));
    lines.push(wideLine("helixlab-details", ...detailsOf(row)));
    return lines;
  }

  function wideLine(className, ...content) {
    return element("tr", { className }, element("td", { colSpan: COLUMNS.length + 1 }, ...content));
  }

  /** Shows which row is marked, and which are open. */
  function mark() {
    const marked = model.get("marked");
    body.querySelectorAll("tr[tabindex]").forEach((line, index) => {
      const isOpen = opened.has(index);
      line.classList.toggle("helixlab-current", index === marked);
      line.setAttribute("aria-selected", String(index === marked));
      const button = line.querySelector("button");
      button.textContent = isOpen ? "▾" : "▸";
      button.setAttribute("aria-expanded", String(isOpen));
    });
    body.querySelectorAll(".helixlab-details").forEach((line, index) => {
      line.hidden = !opened.has(index);
    });
  }

  function update() {
    const rows = model.get("rows");
    opened.clear();
    body.replaceChildren(...rows.flatMap(linesOf));
    table.hidden = !rows.length;
    empty.hidden = rows.length > 0;
    empty.textContent = model.get("empty_text");
    const texts = model.get("warnings");
    warnings.replaceChildren(...texts.map((text) => element("p", { className: "helixlab-warning", textContent: text })));
    mark();
  }

  const updateSafely = reporting(model, update);
  updateSafely();
  el.classList.add("helixlab-candidates-table");
  el.append(warnings, table, empty);
  const endings = [
    listen(model, ["rows", "warnings", "empty_text"], updateSafely),
    listen(model, ["marked"], reporting(model, mark)),
  ];
  return () => endings.forEach((end) => end());
}
export default viewOf(render);
