// A transparent layer over a plot: pointer events in the axes' own values.

const LEAST_BOX_PX = 6;
const DOUBLE_CLICK_MS = 220;

function render({ model, el }) {
  const rubber = element("div", { className: "helixlab-rubber", hidden: true });
  const guide = element("div", { className: "helixlab-guide", hidden: true });
  // ipywidgets sets the place of `el` itself.
  const area = element("div", { className: "helixlab-pointer", tabIndex: 0, role: "application" }, rubber, guide);
  el.classList.add("helixlab-over-plot");
  el.append(area);
  let start = null;
  let waiting = 0;

  function place() {
    const { top, bottom, left, right } = model.get("margins");
    area.style.inset = `${top}px ${right}px ${bottom}px ${left}px`;
    area.classList.toggle("helixlab-draws-box", model.get("draws_box"));
    area.setAttribute("aria-label", model.get("label"));
  }

  /** Where the pointer is, as parts of the width and of the height, from the lower left corner. */
  function partsAt(event) {
    const box = area.getBoundingClientRect();
    const within = (part) => Math.min(Math.max(part, 0), 1);
    return [within((event.clientX - box.left) / box.width), within((box.bottom - event.clientY) / box.height)];
  }

  function valueAt(part, range) {
    const [low, high] = model.get(range);
    return low + part * (high - low);
  }
  const valuesAt = ([x, y]) => [valueAt(x, "x_range"), valueAt(y, "y_range")];

  function boxSince(parts) {
    const [x0, x1] = [start[0], parts[0]].sort((a, b) => a - b);
    const [y0, y1] = [start[1], parts[1]].sort((a, b) => a - b);
    const isBox = (x1 - x0) * area.clientWidth > LEAST_BOX_PX && (y1 - y0) * area.clientHeight > LEAST_BOX_PX;
    return isBox && model.get("draws_box") ? { x0, x1, y0, y1 } : null;
  }

  function showRubber(box) {
    rubber.hidden = !box;
    if (!box) return;
    rubber.style.inset = `${100 * (1 - box.y1)}% ${100 * (1 - box.x1)}% ${100 * box.y0}% ${100 * box.x0}%`;
  }

  const report = oncePerFrame(() => model.save_changes());
  function hover(parts) {
    if (!model.get("reports_hover")) return;
    model.set("hovered", parts ? valuesAt(parts) : []);
    report();
  }

  function showGuide() {
    const [x] = model.get("hovered");
    const [low, high] = model.get("x_range");
    guide.hidden = x === undefined || x < low || x > high;
    guide.style.left = `${(100 * (x - low)) / (high - low)}%`;
  }

  function click(parts) {
    const [x, y] = valuesAt(parts);
    clearTimeout(waiting);
    const delay = model.get("waits_for_double_click") ? DOUBLE_CLICK_MS : 0;
    waiting = setTimeout(() => model.send({ intent: "click", x, y }), delay);
  }

  area.onpointerdown = (event) => {
    if (event.button !== 0) return;
    area.setPointerCapture(event.pointerId);
    start = partsAt(event);
  };
  area.onpointermove = (event) => {
    const parts = partsAt(event);
    hover(parts);
    if (start) showRubber(boxSince(parts));
  };
  area.onpointerup = (event) => {
    if (!start) return;
    const parts = partsAt(event);
    const box = boxSince(parts);
    start = null;
    showRubber(null);
    if (!box) return click(parts);
    const x = [valueAt(box.x0, "x_range"), valueAt(box.x1, "x_range")];
    const y = [valueAt(box.y0, "y_range"), valueAt(box.y1, "y_range")];
    return model.send({ intent: "box", x, y });
  };
  area.onpointercancel = () => {
    start = null;
    showRubber(null);
  };
  area.onpointerleave = () => hover(null);
  area.ondblclick = () => {
    clearTimeout(waiting);
    model.send({ intent: "double_click" });
  };
  area.onkeydown = (event) => {
    if (event.key === "Escape" && start) return area.onpointercancel();
    if (!model.get("key_names").includes(event.key) || event.ctrlKey || event.metaKey || event.altKey) return undefined;
    event.preventDefault();
    event.stopPropagation(); // JupyterLab moves between cells with the same keys
    return model.send({ intent: "key", key: event.key });
  };

  place();
  showGuide();
  const endings = [
    listen(model, ["margins", "draws_box", "label"], place),
    listen(model, ["hovered", "x_range"], showGuide),
    report.cancel,
    () => clearTimeout(waiting),
  ];
  return () => endings.forEach((end) => end());
}
export default viewOf(render);
