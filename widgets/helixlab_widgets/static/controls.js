// The controls of a helical symmetry: six quantities that Python keeps consistent, and the explorer's actions.

const STEPS = [0.001, 0.01, 0.1, 1];

const SPANS = [
  ["all", "all"],
  ["10", "± 10"],
  ["1", "± 1"],
  ["0.1", "± 0.1"],
];

/**
 * A number with text, step buttons and a slider. `read` gives the model's value; `write` gets the user's, and `type`
 * what was typed, which may be anything.
 */
function numberField({ name, label, unit, help, limits, digits, read, write, type, step }) {
  const input = element("input", { type: "text", inputMode: "decimal", title: help, "aria-label": `${label} (${unit})` });
  const slider = element("input", { type: "range", step: "any", tabIndex: -1, "aria-label": `${label}, slider` });
  const span = element("select", { title: "What the slider spans", "aria-label": `What the ${label} slider spans` });
  span.append(...SPANS.map(([value, text]) => element("option", { value, textContent: text })));
  const [down, up] = [-1, 1].map((sign) =>
    element("button", {
      type: "button",
      textContent: sign < 0 ? "−" : "+",
      title: `${sign < 0 ? "Down" : "Up"} by one step (also the arrow keys in the field; Shift: ten steps)`,
      ariaLabel: `${label} ${sign < 0 ? "down" : "up"}`,
      onclick: () => move(sign),
    }),
  );
  const field = element(
    "div",
    { className: "helixlab-number" },
    element("label", { textContent: label, title: help }),
    element("div", { className: "helixlab-entry" }, down, input, element("span", { textContent: unit }), up),
    element("div", { className: "helixlab-entry" }, slider, span),
  );
  field.dataset.name = name;

  let isSliding = false;
  const isDerived = ["pitch_A", "subunits_per_turn"].includes(name);

  function move(count) {
    const size = step();
    const value = read() + count * size;
    write(Number(value.toFixed(6)));
    show();
  }

  function aim() {
    const [low, high] = limits();
    const half = span.value === "all" ? Infinity : Number(span.value);
    slider.min = Math.max(low, read() - half);
    slider.max = Math.min(high, read() + half);
  }

  function show() {
    const value = read();
    if (document.activeElement !== input || !input.dataset.isEdited) {
      input.value = value || !isDerived ? value.toFixed(digits) : "–"; // no pitch without a twist
    }
    if (!isSliding) aim();
    slider.value = value;
  }

  function commit() {
    if (!input.dataset.isEdited) return;
    delete input.dataset.isEdited;
    type(input.value);
    show();
  }

  input.oninput = () => (input.dataset.isEdited = "yes");
  input.onblur = commit;
  input.onkeydown = (event) => {
    event.stopPropagation(); // JupyterLab has shortcuts of its own
    const sign = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (sign) {
      event.preventDefault();
      commit();
      move(sign * (event.shiftKey ? 10 : 1));
    } else if (event.key === "Enter") commit();
    else if (event.key === "Escape") {
      delete input.dataset.isEdited;
      show();
    }
  };
  slider.oninput = () => {
    isSliding = true;
    write(Number(Number(slider.value).toFixed(3)));
  };
  slider.onchange = () => {
    isSliding = false;
    show();
  };
  span.onchange = show;
  return { field, show };
}

function render({ model, el }) {
  el.classList.add("helixlab-controls-body");
  const stepChoice = element("select", { title: "One step of the buttons and arrow keys" });
  stepChoice.append(...STEPS.map((value) => element("option", { value, textContent: String(value) })));

  const write = (name) => (value) => {
    model.set(name, value);
    model.save_changes();
  };
  const make = (name, label, unit, digits, help, limits) =>
    numberField({
      name,
      label,
      unit,
      digits,
      help,
      limits,
      read: () => model.get(name),
      write: write(name),
      type: (text) => model.send({ intent: "typed", name, label, text }),
      step: () => Number(stepChoice.value),
    });
  const fields = [
    make("twist_deg", "Twist", "°", 3, "Rotation from one subunit to the next; right-handed is positive.", () => [-180, 180]),
    make("rise_A", "Rise", "Å", 3, "Shift along the axis from one subunit to the next.", () => [0.3, model.get("max_rise_A")]),
    make("pitch_A", "Pitch", "Å", 3, "Length of one turn of the one-start helix: 360° · rise / |twist|.", () => [1, 4 * model.get("max_rise_A")]),
    make("subunits_per_turn", "Subunits per turn", "", 3, "360° / |twist|.", () => [2, 60]),
  ];

  const hand = element("div", { className: "helixlab-choice", role: "radiogroup", "aria-label": "Hand of the helix" });
  for (const [value, text] of [
    [1, "right"],
    [-1, "left"],
  ]) {
    const button = element("button", { type: "button", textContent: text, role: "radio", onclick: () => write("hand")(value) });
    button.dataset.value = value;
    hand.append(button);
  }

  const family = element("select", { "aria-label": "Family of the point group", title: "C: rotations about the axis. D: with a dyad across it." });
  family.append(...["C", "D"].map((name) => element("option", { value: name, textContent: name })));
  const order = element("input", { type: "number", min: 1, max: 60, step: 1, "aria-label": "Order of the point group", title: "Identical strands around the axis" });
  const writeGroup = () => {
    const n = Number(order.value);
    if (Number.isInteger(n) && n >= 1 && n <= 60) write("point_group")(`${family.value}${n}`);
    else report(model, `Point group: found ${order.value || "nothing"}; its order is a whole number from 1 to 60.`);
    order.blur();
    update();
  };
  family.onchange = writeGroup;
  order.onchange = writeGroup;
  order.onkeydown = (event) => event.stopPropagation();

  const labelled = (text, ...content) =>
    element("div", { className: "helixlab-number" }, element("label", { textContent: text }), element("div", { className: "helixlab-entry" }, ...content));

  const action = (intent, text, title) => {
    const button = element("button", { type: "button", textContent: text, title, onclick: () => model.send({ intent }) });
    button.dataset.action = intent;
    if (intent === "search") button.classList.add("helixlab-primary");
    return button;
  };
  const actions = element(
    "div",
    { className: "helixlab-actions" },
    action("search", "Search symmetry", "Find the symmetry of the map without a hint; the table lists what was found."),
    action("refine", "Refine here", "Go to the nearest maximum of the score."),
    action("flip", "Flip hand", "Mirror the map; the twist changes its sign with it."),
    action("undo", "↶ Undo", "Take the last change back."),
    action("redo", "↷ Redo", "Make the change again."),
    element("label", { className: "helixlab-step" }, "Step ", stepChoice),
  );
  const readout = element("div", { className: "helixlab-readout", role: "status" });

  function update() {
    for (const { show } of fields) show();
    for (const button of hand.children) button.disabled = model.get("hand") === 0;
    for (const button of hand.children) button.setAttribute("aria-checked", String(Number(button.dataset.value) === model.get("hand")));
    const group = model.get("point_group");
    family.value = group[0];
    if (document.activeElement !== order) order.value = group.slice(1);
    actions.querySelector("[data-action=undo]").disabled = !model.get("can_undo");
    actions.querySelector("[data-action=redo]").disabled = !model.get("can_redo");
    readout.textContent = model.get("readout");
  }
  const updateSafely = reporting(model, update);
  updateSafely();
  el.append(
    actions,
    element("div", { className: "helixlab-numbers" }, ...fields.map(({ field }) => field), labelled("Hand", hand), labelled("Point group", family, order)),
    readout,
  );
  const names = ["twist_deg", "rise_A", "pitch_A", "subunits_per_turn", "hand", "point_group", "max_rise_A"];
  return listen(model, [...names, "can_undo", "can_redo", "readout"], updateSafely);
}
export default viewOf(render);
