function render({ model, el }) {
  el.classList.add("helixlab-heading");
  const title = element("h3");
  const help = element("p", { className: "helixlab-help", hidden: true });
  const ask = element("button", { type: "button", textContent: "?", title: "What is this?", ariaLabel: "Help", className: "helixlab-ask" });
  const bar = element("progress", { max: 1 });
  const activity = element("span");
  const cancel = element("button", { type: "button", textContent: "Cancel" });
  const progress = element("div", { className: "helixlab-progress", role: "status" }, bar, activity, cancel);
  const message = element("span");
  const dismiss = element("button", { type: "button", textContent: "×", title: "Dismiss", ariaLabel: "Dismiss" });
  const error = element("div", { className: "helixlab-error", role: "alert" }, message, dismiss);

  ask.onclick = () => {
    help.hidden = !help.hidden;
    ask.setAttribute("aria-expanded", String(!help.hidden));
  };
  cancel.onclick = () => model.send({ intent: "cancel" });
  dismiss.onclick = () => {
    model.set("error", "");
    model.save_changes();
  };

  function update() {
    title.textContent = model.get("title");
    help.textContent = model.get("help_text");
    ask.hidden = !model.get("help_text");
    progress.hidden = !model.get("activity");
    activity.textContent = model.get("activity");
    bar.value = model.get("part_done");
    cancel.hidden = !model.get("can_cancel");
    error.hidden = !model.get("error");
    message.textContent = model.get("error");
  }
  update();
  el.append(element("div", { className: "helixlab-title" }, title, ask, progress), help, error);
  return listen(model, ["title", "help_text", "error", "activity", "part_done", "can_cancel"], update);
}
export default viewOf(render);
