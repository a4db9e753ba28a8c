function render({ model, el }) {
  const stem = element("input", { type: "text", "aria-label": "Beginning of the files' names", title: "Beginning of the files' names; may hold a folder" });
  stem.onkeydown = (event) => event.stopPropagation();
  stem.onchange = () => {
    model.set("stem", stem.value);
    model.save_changes();
  };
  const replace = element("input", { type: "checkbox" });
  const buttons = Object.entries(model.get("kinds")).map(([kind, [text, title]]) => {
    const onclick = () => model.send({ intent: "export", kind, overwrite: replace.checked });
    const button = element("button", { type: "button", textContent: text, title, onclick });
    button.dataset.kind = kind;
    return button;
  });
  const written = element("div", { className: "helixlab-readout", role: "status" });
  const code = element("textarea", { readOnly: true, rows: 7, "aria-label": "Code that makes this state again", spellcheck: false });
  const copy = element("button", { type: "button", textContent: "Copy", onclick: copyCode });
  const codeBox = element("div", { className: "helixlab-code" }, code, copy);

  async function copyCode() {
    code.select();
    try {
      await navigator.clipboard.writeText(code.value);
      copy.textContent = "Copied";
    } catch {
      copy.textContent = "Selected: press Ctrl+C"; // pages without https may not write the clipboard
    }
  }

  function update() {
    if (document.activeElement !== stem) stem.value = model.get("stem");
    const files = model.get("written");
    written.textContent = files.length ? `Written: ${files.join(", ")}` : "";
    codeBox.hidden = !model.get("code");
    code.value = model.get("code");
    copy.textContent = "Copy";
  }
  const updateSafely = reporting(model, update);
  updateSafely();
  el.append(element("div", { className: "helixlab-actions" }, stem, ...buttons, element("label", {}, replace, " replace")), written, codeBox);
  return listen(model, ["stem", "written", "code"], updateSafely);
}
export default viewOf(render);
