// The isosurface view: the 3D scene of ngl_scene.js with its controls, legend and scale bar.

const CHOICES = { before: "Map", after: "Symmetrised", both: "Both" };
const NO_WEBGL =
  "This browser shows no 3D graphics (WebGL is off or missing). Turn on hardware acceleration in the browser's " +
  "settings, or use another browser; all other views work without it.";
const NO_NGL =
  "The 3D viewer NGL was not found in this Jupyter server. Run `pip install nglview` in the server's environment, " +
  "then restart the server and reload the page.";
const LOST = "The browser took this 3D picture away, as it does when a page has too many. ";

/** A round number of Å, at most a quarter of the width. */
function barLength(width, pixelsPerA) {
  const limit = width / 4 / pixelsPerA;
  const power = 10 ** Math.floor(Math.log10(limit));
  return [5, 2, 1].map((step) => step * power).find((length) => length <= limit) ?? power;
}

/** JupyterLab takes keys for its own shortcuts, unless the focused element itself says no. */
function keepKeys(part) {
  part.dataset.lmSuppressShortcuts = "true";
}

/** The controls below the picture; returns what shows the traits in them. */
function makeControls(model, { reset, save }) {
  const set = (name, value) => {
    model.set(name, value);
    model.save_changes();
  };
  const choices = Object.entries(CHOICES).map(([value, textContent]) =>
    element("button", { type: "button", textContent, value, onclick: () => set("shown", value) }),
  );
  const slider = element("input", { type: "range", step: 0.05, "aria-label": "Surface level, σ above the mean" });
  const number = element("input", { type: "number", step: 0.05, "aria-label": "Surface level, σ above the mean" });
  const density = element("output", { title: "The density at the surface, in the map's own units" });
  const note = element("span", { className: "helixlab-grid" });
  const spin = element("button", { type: "button", textContent: "Spin", title: "Turn about the helical axis" });
  for (const input of [slider, number]) {
    input.oninput = () => Number.isFinite(input.valueAsNumber) && set("level_sigma", input.valueAsNumber);
  }
  spin.onclick = () => set("is_spinning", !model.get("is_spinning"));
  const el = element(
    "div",
    { className: "helixlab-isosurface-controls" },
    element("span", { className: "helixlab-choices", role: "group", "aria-label": "What is shown" }, ...choices),
    element("span", { title: "Only what is denser is inside the surface" }, "Level ", slider, number, " σ = ", density),
    element("button", { type: "button", textContent: "Reset view", onclick: reset }),
    spin,
    element("button", { type: "button", textContent: "Save picture", onclick: save }),
    note,
  );
  for (const part of [slider, ...el.querySelectorAll("button")]) keepKeys(part);

  function show() {
    const hasAfter = Boolean(model.get("after"));
    for (const choice of choices) {
      choice.setAttribute("aria-pressed", String(choice.value === (hasAfter ? model.get("shown") : "before")));
      choice.disabled = !hasAfter && choice.value !== "before";
    }
    const [low, high] = model.get("level_range");
    const level = model.get("level_sigma");
    for (const input of [slider, number]) {
      Object.assign(input, { min: low, max: high });
      if (input.valueAsNumber !== level) input.value = String(Number(level.toFixed(3)));
    }
    density.value = `${Number((model.get("mean") + level * model.get("sigma")).toPrecision(3))}`;
    spin.setAttribute("aria-pressed", String(model.get("is_spinning")));
    note.textContent = model.get("note");
  }
  return { el, show };
}

/** The picture as PNG bytes with its legend and scale bar. */
async function takePicture(scene, legend, colours) {
  const factor = 2;
  const blob = await scene.stage.makeImage({ factor, antialias: true });
  const image = await createImageBitmap(blob);
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext("2d");
  const scale = image.width / scene.viewer.width;
  context.drawImage(image, 0, 0);
  context.scale(scale, scale);
  context.font = "13px sans-serif";
  legend.forEach(({ label, colour }, row) => {
    context.fillStyle = colour;
    context.fillRect(10, 12 + 18 * row, 12, 12);
    context.fillStyle = colours.text;
    context.fillText(label, 28, 22 + 18 * row);
  });
  const length = barLength(scene.viewer.width, scene.pixelsPerA());
  context.fillStyle = colours.text;
  context.fillRect(10, scene.viewer.height - 14, length * scene.pixelsPerA(), 4);
  context.fillText(`${length} Å`, 10, scene.viewer.height - 20);
  return canvas.convertToBlob({ type: "image/png" });
}

function asBase64(blob) {
  return new Promise((resolve) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result.split(",")[1]);
    reader.readAsDataURL(blob);
  });
}

function render({ model, el }) {
  const stageBox = element("div", { className: "helixlab-stage" });
  const legend = element("div", { className: "helixlab-legend" });
  const bar = element("div", { className: "helixlab-scalebar" });
  const overlay = element("div", { className: "helixlab-overlay" }, legend, bar);
  const message = element("p", { className: "helixlab-message", role: "status", hidden: true });
  const frame = element("div", { className: "helixlab-isosurface-frame" }, stageBox, overlay, message);
  const controls = makeControls(model, { reset: () => scene?.fit(), save: () => save().catch(fail) });
  el.append(frame, controls.el);
  let scene = null;
  let isClosed = false;
  let drawn = 0;
  let painted = 0;
  let spinning = 0;

  const fail = reporting(model, (error) => {
    throw error;
  });
  const draw = oncePerFrame(() => drawNow().catch(fail));
  async function drawNow() {
    controls.show();
    showLegend();
    if (!scene) return;
    const number = model.get("number");
    await scene.update();
    if (!scene) return;
    scene.viewer.signals.rendered.addOnce(() => {
      if (scene) scene.canvas.dataset.painted = ++painted;
      if (number !== drawn) model.send({ intent: "drawn", number });
      drawn = number;
    });
    scene.viewer.requestRender();
  }

  function entries() {
    const hasAfter = Boolean(model.get("after"));
    const shown = hasAfter ? model.get("shown") : "before";
    const names = model.get("before") ? Object.keys(SURFACES).filter((name) => shown === name || shown === "both") : [];
    return names.map((name) => SURFACES[name]);
  }

  function showLegend() {
    const swatch = ({ colour }) => element("i", { style: `background: ${colour}` });
    legend.replaceChildren(...entries().map((entry) => element("span", {}, swatch(entry), entry.label)));
    if (!model.get("before")) say("No map yet.");
    else if (scene) unsay();
  }

  function showBar() {
    const length = barLength(scene.viewer.width, scene.pixelsPerA());
    bar.style.width = `${length * scene.pixelsPerA()}px`;
    bar.textContent = `${length} Å`;
  }

  function say(text, ...buttons) {
    message.replaceChildren(text, ...buttons);
    message.hidden = false;
    overlay.hidden = true;
  }

  function unsay() {
    message.hidden = true;
    overlay.hidden = false;
  }

  async function start() {
    if (!hasWebGL()) return say(NO_WEBGL);
    const NGL = await model.widget_manager.loadClass("NGL", "nglview-js-widgets", "*").catch(() => null);
    if (!NGL) return say(NO_NGL);
    if (isClosed) return undefined;
    unsay();
    scene = new Scene(NGL, stageBox, model);
    const { canvas } = scene;
    Object.assign(canvas, { tabIndex: 0, title: "Drag to turn, right-drag to move; click, then scroll to zoom" });
    keepKeys(canvas);
    canvas.setAttribute("aria-label", "Isosurface; arrow keys turn it");
    canvas.addEventListener("keydown", onKey);
    canvas.addEventListener("focus", followScroll);
    canvas.addEventListener("blur", followScroll);
    canvas.addEventListener("webglcontextlost", onLost);
    followScroll();
    scene.viewer.signals.rendered.add(() => scene?.centre && showBar());
    followTheme();
    spin();
    return draw();
  }

  function stop() {
    cancelAnimationFrame(spinning);
    scene?.canvas.removeEventListener("webglcontextlost", onLost);
    scene?.dispose();
    scene = null;
  }

  function onLost() {
    stop();
    const again = element("button", { type: "button", textContent: "Draw again", onclick: () => start().catch(fail) });
    say(LOST, again);
  }

  // Unless the picture was clicked, the wheel scrolls the notebook.
  function followScroll() {
    scene.stage.mouseObserver.handleScroll = document.activeElement === scene.canvas;
  }

  function followTheme() {
    scene?.stage.setParameters({ backgroundColor: themeColours(el).ground });
  }

  function onKey(event) {
    const step = event.shiftKey ? 1 : 10;
    const { viewerControls } = scene.stage;
    const action = {
      ArrowLeft: () => scene.turn(-step, [0, 1, 0]),
      ArrowRight: () => scene.turn(step, [0, 1, 0]),
      ArrowUp: () => scene.turn(step, [1, 0, 0]),
      ArrowDown: () => scene.turn(-step, [1, 0, 0]),
      "+": () => viewerControls.zoom(0.1),
      "=": () => viewerControls.zoom(0.1),
      "-": () => viewerControls.zoom(-0.1),
      Home: () => scene.fit(),
    }[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  }

  function spin() {
    cancelAnimationFrame(spinning);
    let last = performance.now();
    const turn = (now) => {
      if (!scene || !model.get("is_spinning")) return;
      scene.turn((SPIN_DEG_PER_S * (now - last)) / 1000);
      last = now;
      spinning = requestAnimationFrame(turn);
    };
    spinning = requestAnimationFrame(turn);
  }

  async function save() {
    if (!scene) return;
    const blob = await takePicture(scene, entries(), themeColours(el));
    const link = element("a", { href: URL.createObjectURL(blob), download: "isosurface.png" });
    link.click();
    URL.revokeObjectURL(link.href);
  }

  async function onMessage(content) {
    if (content.intent !== "picture" || !scene) return;
    model.send({ intent: "picture", png: await asBase64(await takePicture(scene, entries(), themeColours(el))) });
  }

  const traits = ["before", "after", "level_sigma", "level_range", "shown", "note", "atoms", "number"];
  const ends = [
    listen(model, traits, draw),
    listen(model, ["is_spinning"], () => (spin(), controls.show())),
    onResize(frame, () => scene?.resize()),
    onTheme(followTheme),
  ];
  model.on("msg:custom", onMessage);
  controls.show();
  showLegend();
  start().catch(fail);
  return () => {
    isClosed = true;
    draw.cancel();
    model.off("msg:custom", onMessage);
    ends.forEach((end) => end());
    stop();
  };
}
export default viewOf(render);
