// Named hypotheses as a table with its file.

const COLUMNS = [
  ["name", "Name"],
  ["twist_deg", "Twist (°)"],
  ["rise_A", "Rise (Å)"],
  ["point_group", "Group"],
  ["hand", "Map"],
  ["score", "Score"],
  ["resolution", "FSC 0.143 (Å)"],
  ["remark", "Remark"],
];

function render({ model, el }) {
  const tell = (intent, details = {}) => model.send({ intent, ...details });
  const button = (text, title, onclick) => element("button", { type: "button", textContent: text, title, onclick });
  const icon = (...details) => Object.assign(button(...details), { ariaLabel: details[1] });
  const quiet = (input) => {
    input.onkeydown = (event) => event.stopPropagation(); // JupyterLab has shortcuts of its own
    return input;
  };

  const name = quiet(element("input", { type: "text", placeholder: "name", "aria-label": "Name of the hypothesis" }));
  const keep = () => {
    tell("keep", { name: name.value.trim() });
    name.value = "";
  };
  const top = element(
    "div",
    { className: "helixlab-actions" },
    name,
    button("Keep current", "Keep the symmetry in hand as a row of the table", keep),
    button("Add asymmetric control", "The half maps as they are, without any symmetry", () => tell("keep_control")),
    button("Compare", "Compute score, FSC and remarks of all rows again", () => tell("compare")),
  );

  const body = element("tbody");
  const table = element(
    "table",
    { className: "helixlab-table" },
    element("thead", {}, element("tr", {}, ...COLUMNS.map(([, text]) => element("th", { textContent: text, scope: "col" })), element("th"))),
    body,
  );
  const empty = element("p", { className: "helixlab-readout", textContent: "No hypothesis yet: find a symmetry and press “Keep current”." });

  const file = quiet(element("input", { type: "text", size: 28, "aria-label": "File of the hypotheses", title: "A file in the notebook's folder, or a path" }));
  file.onchange = () => {
    model.set("file_name", file.value);
    model.save_changes();
  };
  const replace = element("input", { type: "checkbox" });
  const upload = element("input", { type: "file", accept: ".json,application/json", hidden: true });
  upload.onchange = async () => {
    const [chosen] = upload.files;
    if (chosen) tell("upload", { name: chosen.name, text: await chosen.text() });
    upload.value = "";
  };
  const saved = element("span", { className: "helixlab-readout", role: "status" });
  const bottom = element(
    "div",
    { className: "helixlab-actions" },
    file,
    button("Save", "Write the hypotheses to this file", () => tell("save", { path: file.value, overwrite: replace.checked })),
    element("label", {}, replace, " replace"),
    button("Load", "Read hypotheses from this file", () => tell("load", { path: file.value })),
    button("Download", "Save the file on your own machine", () => tell("download")),
    button("Upload", "Read a file of your own machine", () => upload.click()),
    upload,
    saved,
  );

  function cell(row, index, [key, heading]) {
    const made = element("td", { "data-label": heading, "data-column": key });
    if (key === "name") {
      const link = button(row.name, "Look at this hypothesis again", () => tell("show", { index }));
      link.className = "helixlab-link";
      made.append(link);
    } else made.textContent = row[key] ?? "";
    return made;
  }

  function update() {
    const rows = model.get("rows");
    body.replaceChildren(
      ...rows.map((row, index) => {
        const line = element("tr", {}, ...COLUMNS.map((column) => cell(row, index, column)));
        line.append(
          element(
            "td",
            { className: "helixlab-row-actions" },
            icon("✎", `Rename ${row.name}`, () => startRename(line, row, index)),
            icon("×", `Remove ${row.name}`, () => tell("remove", { index })),
          ),
        );
        line.classList.toggle("helixlab-current", Boolean(row.is_current));
        return line;
      }),
    );
    table.hidden = !rows.length;
    empty.hidden = rows.length > 0;
    if (document.activeElement !== file) file.value = model.get("file_name");
    saved.textContent = model.get("saved");
  }

  function startRename(line, row, index) {
    const input = element("input", { type: "text", value: row.name, "aria-label": `New name of ${row.name}` });
    input.onkeydown = (event) => {
      event.stopPropagation();
      if (event.key === "Enter") tell("rename", { index, name: input.value.trim() });
      if (event.key === "Enter" || event.key === "Escape") update();
    };
    input.onblur = update;
    line.firstChild.replaceChildren(input);
    input.focus();
    input.select();
  }

  function onMessage({ download }) {
    if (!download) return;
    const address = URL.createObjectURL(new Blob([download.text], { type: "application/json" }));
    element("a", { href: address, download: download.name }).click();
    URL.revokeObjectURL(address);
  }

  const updateSafely = reporting(model, update);
  updateSafely();
  model.on("msg:custom", onMessage);
  el.append(top, table, empty, bottom);
  const stop = listen(model, ["rows", "file_name", "saved"], updateSafely);
  return () => {
    stop();
    model.off("msg:custom", onMessage);
  };
}
export default viewOf(render);
