// A picture under axes with units, and a pointer and keys on it: the unrolled cylinder and the power spectrum.

const MARKER = "#ff4fa3"; // as colors.py: a hue that neither viridis nor grey holds
const MARGIN = { left: 58, right: 14, top: 10, bottom: 40 };
const REACH_PX = 12;

/** Where values lie on a canvas of this size, in CSS pixels, and back. */
function planeFrame(width, height, margin, [x0, x1], [y0, y1]) {
  const [left, right, top, bottom] = [margin.left, width - margin.right, margin.top, height - margin.bottom];
  const [perX, perY] = [(right - left) / (x1 - x0), (bottom - top) / (y1 - y0)];
  return {
    ...{ left, right, top, bottom, perX, perY, xRange: [x0, x1], yRange: [y0, y1] },
    x: (value) => left + (value - x0) * perX,
    y: (value) => bottom - (value - y0) * perY,
    xAt: (px) => x0 + (px - left) / perX,
    yAt: (px) => y0 + (bottom - px) / perY,
    holds: (x, y) => x >= left && x <= right && y >= top && y <= bottom,
  };
}

/** The model's arrays as pictures, made again only when array or colours change; `margin` columns go around. */
function pictureKeeper(model, margin = 0) {
  const kept = {};
  return (name) => {
    const parts = [name, "low", "high", "table"].map((trait) => model.get(trait));
    if (!parts[0] || !parts[3]) return null;
    if (!kept[name] || parts.some((part, i) => part !== kept[name].parts[i])) {
      const [array, low, high, table] = parts;
      const pixels = colouredPixels(readArray(array), low, high, readArray(table).values);
      const canvas = element("canvas", { width: pixels.width + 2 * margin, height: pixels.height });
      for (const turn of margin ? [-1, 1, 0] : [0]) {
        canvas.getContext("2d").putImageData(pixels, margin + turn * pixels.width, 0);
      }
      kept[name] = { parts, canvas };
    }
    return kept[name].canvas;
  };
}

/** The array's value at a place, or NaN beyond its edges. */
function valueAt({ shape: [rows, columns], values }, xEdges, yEdges, x, y) {
  const column = Math.floor(((x - xEdges[0]) / (xEdges[1] - xEdges[0])) * columns);
  const row = Math.floor(((y - yEdges[0]) / (yEdges[1] - yEdges[0])) * rows);
  return column >= 0 && column < columns && row >= 0 && row < rows ? values[row * columns + column] : NaN;
}

/** Draw within the picture's rectangle only. */
function clipped(context, frame, draw) {
  context.save();
  context.beginPath();
  context.rect(frame.left, frame.top, frame.right - frame.left, frame.bottom - frame.top);
  context.clip();
  draw();
  context.restore();
}

/** Axes around the frame; each has its ticks and label, `text` writes a tick, `below` a second line of it. */
function drawAxes(context, frame, x, y, colours, font) {
  Object.assign(context, { font: `11px ${font}`, fillStyle: colours.text, strokeStyle: colours.faint, lineWidth: 1 });
  context.strokeRect(frame.left - 0.5, frame.top - 0.5, frame.right - frame.left + 1, frame.bottom - frame.top + 1);
  context.beginPath();
  Object.assign(context, { textAlign: "center", textBaseline: "top" });
  for (const tick of x.ticks) {
    const at = Math.round(frame.x(tick)) + 0.5;
    context.moveTo(at, frame.bottom);
    context.lineTo(at, frame.bottom + 4);
    context.fillText(x.text(tick), at, frame.bottom + 6);
  }
  context.fillText(x.label, (frame.left + frame.right) / 2, frame.bottom + 22);
  Object.assign(context, { textAlign: "right", textBaseline: "middle" });
  for (const tick of y.ticks) {
    const at = Math.round(frame.y(tick)) + 0.5;
    context.moveTo(frame.left, at);
    context.lineTo(frame.left - 4, at);
    context.fillText(y.text(tick), frame.left - 6, at);
  }
  context.stroke();
  context.save();
  context.translate(11, (frame.top + frame.bottom) / 2);
  context.rotate(-Math.PI / 2);
  context.textAlign = "center";
  context.fillText(y.label, 0, 0);
  context.restore();
}

/** Text that reads on any picture. */
function haloed(context, text, x, y, { align = "left", size = 11, colour = "#fff", font = "sans-serif" } = {}) {
  Object.assign(context, { font: `600 ${size}px ${font}`, textAlign: align, textBaseline: "middle", lineJoin: "round" });
  Object.assign(context, { strokeStyle: "rgba(0, 0, 0, 0.75)", lineWidth: 3, fillStyle: colour });
  context.strokeText(text, x, y);
  context.fillText(text, x, y);
}

/** The pointer on a canvas. `grab` names what is under it, or null; `move` gets that, the start and the place now. */
function followPointer(canvas, { grab, move, hover, release }) {
  let held = null;
  const place = (event) => ({ x: event.offsetX, y: event.offsetY });
  canvas.onpointerdown = (event) => {
    canvas.focus({ preventScroll: true });
    const thing = event.button === 0 ? grab(place(event), event) : null;
    if (!thing) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    held = { thing, start: place(event), from: [event.clientX, event.clientY] };
  };
  canvas.onpointermove = (event) => {
    if (!held) return hover(place(event), event);
    // By the way on the screen: the canvas itself moves when an error is shown above it.
    const { thing, start, from } = held;
    move(thing, start, { x: start.x + event.clientX - from[0], y: start.y + event.clientY - from[1] }, event);
  };
  const end = () => {
    if (held) release();
    held = null;
  };
  canvas.onpointerup = end;
  canvas.onpointercancel = end;
  canvas.onpointerleave = () => held || hover(null);
}

/** Buttons of which one is pressed; `show` presses the model's. */
function choiceOf(model, name, label, options) {
  const buttons = options.map(([value, text, title]) => {
    const onclick = () => {
      model.set(name, value);
      model.save_changes();
    };
    const button = element("button", { type: "button", role: "radio", textContent: text, title, onclick });
    button.dataset.value = value;
    return button;
  });
  const group = element("div", { className: "helixlab-choice", role: "radiogroup", "aria-label": label }, ...buttons);
  const show = () => {
    for (const button of buttons) button.setAttribute("aria-checked", String(button.dataset.value === model.get(name)));
  };
  return { group, show };
}

/** A list of the colour maps. */
function colourMapChoice(model) {
  const select = element("select", { title: "Colours of the picture", "aria-label": "Colour map" });
  select.append(...model.get("colour_maps").map((name) => element("option", { value: name, textContent: name })));
  select.onchange = () => {
    model.set("colour_map", select.value);
    model.save_changes();
  };
  return { select, show: () => (select.value = model.get("colour_map")) };
}

/**
 * The plane's elements in `el`: tools above, the canvas, the read-out below.
 *
 * `draw(context, frame, colours, font)` paints; `size(room)` gives the canvas's width and height; `traits` are those
 * that repaint beside the shared ones; `update()` sets the tools. Returns the canvas, the current frame, `repaint`,
 * `cleanup`, and `say`, which gets a function that words the read-out, or null for the caption.
 */
function makePlane(model, el, { label, tools, margin = MARGIN, size, ranges, draw, traits, update }) {
  el.classList.add("helixlab-plane");
  const canvas = element("canvas", { tabIndex: 0, "aria-label": label });
  canvas.setAttribute("role", "application");
  canvas.setAttribute("data-lm-suppress-shortcuts", "true"); // JupyterLab has shortcuts of its own
  const readout = element("div", { className: "helixlab-readout", role: "status" });
  el.append(element("div", { className: "helixlab-actions" }, ...tools), canvas, readout);
  canvas.dataset.painted = "0";
  const plane = { canvas, frame: null };
  let room = 0;

  const paint = reporting(model, () => {
    if (!room) return;
    const [wide, tall] = size(room).map(Math.round);
    const context = fitCanvas(canvas, wide, tall);
    plane.frame = planeFrame(wide, tall, margin, ...ranges());
    context.clearRect(0, 0, wide, tall);
    draw(context, plane.frame, themeColours(el), getComputedStyle(el).fontFamily || "sans-serif");
    canvas.dataset.painted = String(Number(canvas.dataset.painted) + 1);
  });
  plane.repaint = oncePerFrame(paint);
  const fit = (width) => {
    room = width;
    plane.repaint();
  };
  let words = null;
  const speak = () => (readout.textContent = words?.() || model.get("caption"));
  plane.say = (makeWords) => {
    words = makeWords;
    speak();
  };
  const follow = reporting(model, () => {
    update();
    speak();
    plane.repaint();
  });
  follow();
  const shared = ["before", "after", "x_edges", "y_edges", "low", "high", "table", "comparison", "marks", "caption"];
  const ends = [
    listen(model, [...shared, "colour_map", ...traits], follow),
    onResize(el, fit),
    onTheme(plane.repaint),
    plane.repaint.cancel,
  ];
  plane.cleanup = () => ends.forEach((end) => end());
  return plane;
}

/** A number with a minus sign, not a hyphen. */
function signed(value) {
  return String(value).replace("-", "−");
}

const KEY_PAUSE_MS = 700;

/** What keys move: it runs ahead of Python's answers while keys follow closely, else it starts from the model. */
function runningAhead(start) {
  let [value, last] = [null, -Infinity];
  const step = (move) => {
    const now = performance.now();
    if (now - last > KEY_PAUSE_MS) value = start();
    last = now;
    return (value = value && move(value));
  };
  step.forget = () => (last = -Infinity);
  return step;
}

/** Sends where a mark is moved to. ipywidgets keeps the newest value back until Python has dealt with the last. */
function sendDrag(model, drag) {
  model.set("drag", drag);
  model.save_changes();
}
