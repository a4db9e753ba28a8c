// Three planes of a map, before and after it was symmetrised, with a cross-hair through all of them.

const COMPARISONS = [
  ["before", "Before", "The map as it is"],
  ["after", "After", "The symmetrised map"],
  ["difference", "Difference", "After minus before"],
  ["side by side", "Side by side", "Before, after and their difference"],
];

const KINDS = [
  ["section", "Section", "One plane of voxels"],
  ["projection", "Projection", "The sum over all planes"],
];

const KEYS = {
  ArrowLeft: ["right", -1],
  ArrowRight: ["right", 1],
  ArrowDown: ["up", -1],
  ArrowUp: ["up", 1],
  PageDown: ["normal", -1],
  PageUp: ["normal", 1],
};

const CROSS = "#FF4FA3";
const CROSS_GAP = 7;

/** How far a notch of the wheel turns, in the pixels that it would scroll; touch pads turn it in small parts. */
const NOTCH = 100;

function render({ model, el }) {
  const canvas = element("canvas", { className: "helixlab-planes", tabIndex: 0, role: "application" });
  canvas.setAttribute("aria-label", "Planes of the map. Arrow keys move the cross-hair.");
  const displayed = displayedArrays(model);
  let tables = [];
  let room = 0;
  let layout = { scale: 1, panels: [], height: 0 };
  let activePlane = PLANES[2];
  let dragged = null;
  let hovered = null;
  let turned = 0;

  // --- what the traits say --------------------------------------------------------------------------

  const shape = () => model.get("shape");
  const isSection = () => model.get("kind") === "section";
  const hasAfter = () => Boolean(model.get("after_yx"));
  const crossing = () => model.get("at_px") ?? shape().map((n) => n >> 1);
  const inA = (axis, px) => (px - (shape()[axis] >> 1)) * model.get("pixel_size_A");
  const limits = () => {
    const [low, high] = model.get("auto_limits");
    return [model.get("low") ?? low, model.get("high") ?? high];
  };

  function states() {
    if (!hasAfter()) return ["before"];
    const comparison = model.get("comparison");
    return comparison === "side by side" ? ["before", "after", "difference"] : [comparison];
  }

  /** Limits and colours of a state. Differences are centred at 0 and span half the contrast either way. */
  function colouring(state) {
    const [low, high] = limits();
    const half = (high - low) / 2;
    if (state === "difference") return { low: -half, high: half, table: tables.at(-1) };
    return { low, high, table: tables[model.get("colour_maps").indexOf(model.get("colour_map"))] };
  }

  function write(changes) {
    model.set(changes);
    model.save_changes();
  }

  // --- drawing ----------------------------------------------------------------------------------------

  function draw() {
    if (!room || !shape()[0]) return;
    layout = arrangePanels(room, shape(), states());
    const context = fitCanvas(canvas, room, Math.ceil(layout.height));
    const colours = { ...themeColours(el), font: getComputedStyle(el).fontFamily };
    context.clearRect(0, 0, room, layout.height);
    for (const panel of layout.panels) {
      drawTitle(context, panel, colours);
      drawPicture(context, panel);
      drawAxes(context, panel, colours);
      drawCross(context, panel);
      if (panel.plane === activePlane && document.activeElement === canvas) {
        context.strokeStyle = colours.accent;
        context.lineWidth = 2;
        context.strokeRect(panel.x + 1, panel.y + 1, panel.width - 2, panel.height - 2);
      }
    }
    updateLegend();
    updateReadout();
    canvas.dataset.painted = Number(canvas.dataset.painted ?? 0) + 1;
  }

  function drawTitle(context, { state, plane, x, y, width, isNamed }, colours) {
    context.textAlign = "left";
    context.textBaseline = "middle";
    context.fillStyle = colours.text;
    context.font = `600 13px ${colours.font}`;
    if (isNamed) context.fillText(state[0].toUpperCase() + state.slice(1), x, y - 1.5 * TITLE);
    const name = `${AXES[plane.up]}–${AXES[plane.right]}`;
    context.font = `600 12px ${colours.font}`;
    context.fillText(name, x, y - TITLE / 2);
    const nameWidth = context.measureText(name).width + 8;
    const axis = AXES[plane.normal];
    const at = signed(inA(plane.normal, crossing()[plane.normal]), 1);
    const where = isSection() ? `at ${axis} = ${at} Å` : `summed along ${axis}`;
    context.font = `12px ${colours.font}`;
    context.fillStyle = colours.faint;
    context.fillText(where, x + nameWidth, y - TITLE / 2, Math.max(width - nameWidth, 20));
  }

  function drawPicture(context, { state, plane, x, y, width, height }) {
    const { low, high, table } = colouring(state);
    const picture = displayed.picture(state, plane.name, low, high, table);
    if (!picture) return;
    // A reduced array's last row and column may reach beyond the box.
    const columns = shape()[plane.right] / model.get("reduction");
    const rows = shape()[plane.up] / model.get("reduction");
    context.drawImage(picture, 0, picture.height - rows, columns, rows, x, y, width, height);
  }

  /** Names of the axes with a rim, which read on every density. */
  function drawAxes(context, { state, plane, x, y, width, height }, colours) {
    const [ink, rim] = state === "difference" ? ["#222", "#fff"] : ["#fff", "#000"];
    const write = (text, left, top) => {
      context.strokeText(text, left, top);
      context.fillText(text, left, top);
    };
    Object.assign(context, { font: `12px ${colours.font}`, lineWidth: 2, strokeStyle: rim, fillStyle: ink });
    write(`↑ ${AXES[plane.up]}`, x + 4, y + 10);
    context.textAlign = "right";
    write(`${AXES[plane.right]} →`, x + width - 4, y + height - 9);
    context.textAlign = "left";
  }

  /** Lines where the other two planes cut, open in the middle so that the density there is seen. */
  function drawCross(context, { plane, x, y, width, height }) {
    const at = crossing();
    const column = x + (at[plane.right] + 0.5) * layout.scale;
    const row = y + height - (at[plane.up] + 0.5) * layout.scale;
    context.beginPath();
    for (const side of [-1, 1]) {
      context.moveTo(column, Math.min(Math.max(row + side * CROSS_GAP, y), y + height));
      context.lineTo(column, side < 0 ? y : y + height);
      context.moveTo(Math.min(Math.max(column + side * CROSS_GAP, x), x + width), row);
      context.lineTo(side < 0 ? x : x + width, row);
    }
    context.strokeStyle = CROSS;
    context.lineWidth = 1;
    context.stroke();
  }

  // --- texts around the drawing -------------------------------------------------------------------------

  const readout = element("div", { className: "helixlab-readout" });
  const ruler = element("span", { className: "helixlab-ruler" });
  const rulerText = element("span");
  const keys = { density: colourKey("density"), difference: colourKey("after − before") };
  const reduced = element("span");
  const legend = element(
    "div",
    { className: "helixlab-legend" },
    element("span", {}, ruler, rulerText),
    keys.density.box,
    keys.difference.box,
    reduced,
  );

  function updateLegend() {
    const pixelsPerA = layout.scale / model.get("pixel_size_A");
    const length = roundLength(120 / pixelsPerA);
    ruler.style.width = `${length * pixelsPerA}px`;
    rulerText.textContent = `${length} Å`;
    const drawn = states();
    keys.density.update(drawn.some((state) => state !== "difference") && colouring("before"));
    keys.difference.update(drawn.includes("difference") && colouring("difference"));
    const factor = model.get("reduction");
    reduced.textContent = factor > 1 ? `drawn with ${factor} × ${factor} voxels averaged to one` : "";
  }

  /** What is under the pointer, or else at the cross-hair of the plane used last. */
  function updateReadout() {
    const { plane, at } = hovered ?? { plane: activePlane, at: crossing() };
    const known = isSection() ? [2, 1, 0] : [plane.right, plane.up];
    const places = known.map((axis) => `${AXES[axis]} ${signed(inA(axis, at[axis]), 1)}`).join(", ");
    const voxel = [...known].reverse().map((axis) => `${AXES[axis]} ${at[axis]}`);
    const parts = [`${places} Å`, `voxel ${voxel.sort((a, b) => AXES.indexOf(a[0]) - AXES.indexOf(b[0])).join(", ")}`];
    if (known.includes(1) && known.includes(2)) {
      const [y, x] = [inA(1, at[1]), inA(2, at[2])];
      const azimuth = (Math.atan2(y, x) * 180) / Math.PI;
      parts.push(`${Math.hypot(y, x).toFixed(1)} Å from the axis, azimuth ${signed(azimuth, 1)}°`);
    }
    const values = ["before", "after"].map((state) => valueText(state, plane, at)).filter(Boolean);
    readout.textContent = [...parts, values.join(", ")].join(" · ");
  }

  function valueText(state, plane, at) {
    const array = displayed.array(state, plane.name);
    if (!array) return "";
    const [row, column] = [plane.up, plane.right].map((axis) => Math.floor(at[axis] / model.get("reduction")));
    return `${hasAfter() ? state : "density"} ${density(array.values[row * array.shape[1] + column])}`;
  }

  // --- what the user does ---------------------------------------------------------------------------------

  const paint = oncePerFrame(reporting(model, draw));
  const report = oncePerFrame(() => model.save_changes());

  function fit(width) {
    room = width;
    paint();
  }

  function moveTo(at) {
    const now = crossing();
    if (at.every((px, axis) => px === now[axis])) return;
    model.set("at_px", at);
    report();
  }

  function moveBy(axis, count) {
    const at = [...crossing()];
    at[axis] = Math.min(Math.max(at[axis] + count, 0), shape()[axis] - 1);
    moveTo(at);
  }

  function panelAt({ offsetX, offsetY }) {
    const isIn = ({ x, y, width, height }) =>
      offsetX >= x && offsetX < x + width && offsetY >= y && offsetY < y + height;
    return layout.panels.find(isIn);
  }

  /** The voxel of a panel under the pointer, also if the pointer has left the panel. */
  function voxelAt({ offsetX, offsetY }, { plane, x, y, height }) {
    const at = [...crossing()];
    const put = (axis, pixels) => {
      at[axis] = Math.min(Math.max(Math.floor(pixels / layout.scale), 0), shape()[axis] - 1);
    };
    put(plane.right, offsetX - x);
    put(plane.up, y + height - offsetY);
    return at;
  }

  canvas.onpointerdown = (event) => {
    const panel = panelAt(event);
    if (event.button !== 0 || !panel) return;
    canvas.setPointerCapture(event.pointerId);
    dragged = panel;
    activePlane = panel.plane;
    moveTo(voxelAt(event, panel));
    paint();
  };
  canvas.onpointermove = (event) => {
    if (dragged) moveTo(voxelAt(event, dragged));
    const panel = dragged ?? panelAt(event);
    hovered = panel && { plane: panel.plane, at: voxelAt(event, panel) };
    canvas.style.cursor = panel ? "crosshair" : "default";
    updateReadout();
  };
  canvas.onpointerup = canvas.onpointercancel = () => (dragged = null);
  canvas.onpointerleave = () => {
    hovered = null;
    updateReadout();
  };
  // Only with the focus: else the page could not be scrolled past the planes.
  const onWheel = (event) => {
    const panel = panelAt(event);
    if (!panel || !isSection() || document.activeElement !== canvas) return;
    event.preventDefault();
    turned += event.deltaMode === 0 ? event.deltaY : NOTCH * Math.sign(event.deltaY);
    const steps = Math.round(turned / NOTCH);
    turned -= steps * NOTCH;
    moveBy(panel.plane.normal, -steps);
  };
  canvas.addEventListener("wheel", onWheel, { passive: false });
  canvas.onfocus = canvas.onblur = paint;
  canvas.onkeydown = (event) => {
    const isHandled = event.key in KEYS || event.key === "Home" || ["1", "2", "3"].includes(event.key);
    if (!isHandled || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    event.stopPropagation(); // JupyterLab moves between cells with the same keys
    if (event.key === "Home") write({ at_px: null });
    else if (event.key in KEYS) {
      const [side, sign] = KEYS[event.key];
      moveBy(activePlane[side], sign * (event.shiftKey ? 10 : 1));
    } else {
      activePlane = PLANES[Number(event.key) - 1];
      paint();
    }
  };

  // --- controls -----------------------------------------------------------------------------------------

  const comparison = choiceButtons(model, "comparison", "What is compared", COMPARISONS);
  const kind = choiceButtons(model, "kind", "Section or projection", KINDS);
  const colourMap = element("select", { title: "Colours of the density", "aria-label": "Colour map" });
  colourMap.onchange = () => write({ colour_map: colourMap.value });
  const contrast = contrastSlider({
    label: "Contrast",
    read: () => {
      const [low, high] = limits();
      const [first, last] = model.get("auto_limits");
      const margin = (last - first) / 2;
      const arrays = PLANES.map(({ name }) => displayed.array("before", name)).filter(Boolean);
      return { low, high, ends: [first - margin, last + margin], arrays };
    },
    write: (low, high) => write({ low, high }),
  });
  const auto = element("button", {
    type: "button",
    textContent: "Auto",
    title: "Contrast from the densities: all but the darkest 0.5% and the brightest 0.1%",
    onclick: () => write({ low: null, high: null }),
  });
  const controls = element(
    "div",
    { className: "helixlab-actions" },
    comparison.box,
    kind.box,
    element("span", { className: "helixlab-group" }, "Contrast ", contrast.box, auto),
    colourMap,
  );

  function updateControls() {
    comparison.box.hidden = !hasAfter();
    comparison.update();
    kind.update();
    colourMap.value = model.get("colour_map");
    contrast.update();
    auto.disabled = model.get("low") === null && model.get("high") === null;
  }

  function readTables() {
    const { values } = readArray(model.get("colour_tables"));
    const count = model.get("colour_maps").length;
    tables = Array.from({ length: count + 1 }, (_, i) => values.subarray(768 * i, 768 * (i + 1)));
    const options = model.get("colour_maps").map((name) => element("option", { value: name, textContent: name }));
    colourMap.replaceChildren(...options);
  }

  const update = reporting(model, updateControls);
  readTables();
  update();
  el.append(controls, canvas, legend, readout);
  const planes = PLANES.flatMap(({ name }) => [`before_${name}`, `after_${name}`]);
  const looks = ["kind", "comparison", "colour_map", "low", "high", "auto_limits"];
  const endings = [
    listen(model, [...planes, ...looks, "shape", "reduction", "pixel_size_A", "at_px"], paint),
    listen(model, [...looks, "before_zy", "before_zx", "before_yx", "after_yx"], update),
    onResize(el, fit),
    onTheme(paint),
    paint.cancel,
    report.cancel,
  ];
  return () => endings.forEach((end) => end());
}
export default viewOf(render);
