// Where the planes of a map lie in a drawing, and what is drawn there.

const AXES = ["z", "y", "x"];

/** Which axes (0 z, 1 y, 2 x) run up and to the right, and which one a plane is cut across. */
const PLANES = [
  { name: "zy", up: 0, right: 1, normal: 2 },
  { name: "zx", up: 0, right: 2, normal: 1 },
  { name: "yx", up: 1, right: 2, normal: 0 },
];

const GAP = 10;
const TITLE = 20;
const NARROW = 560;
const LARGEST_ALONE = 420;
const LARGEST_OF_MANY = 270;

/** Where each panel lies in a drawing of this width. All have one scale, in CSS pixels per voxel. */
function arrangePanels(width, shape, states) {
  const isMany = states.length > 1;
  const rows = width < NARROW && !isMany ? [PLANES.slice(0, 2), PLANES.slice(2)] : [PLANES];
  const scaleOf = (row) => (width - GAP * (row.length - 1)) / row.reduce((sum, { right }) => sum + shape[right], 0);
  const largest = (isMany ? LARGEST_OF_MANY : LARGEST_ALONE) / Math.max(...shape);
  const scale = Math.min(largest, ...rows.map(scaleOf));
  const panels = [];
  let top = 0;
  for (const state of states) {
    if (isMany) top += TITLE;
    for (const row of rows) {
      let x = 0;
      for (const plane of row) {
        const [w, h] = [shape[plane.right] * scale, shape[plane.up] * scale];
        panels.push({ state, plane, x, y: top + TITLE, width: w, height: h, isNamed: isMany && x === 0 });
        x += w + GAP;
      }
      top += TITLE + Math.max(...row.map(({ up }) => shape[up])) * scale + GAP;
    }
  }
  return { scale, panels, height: top };
}

/** The arrays of a model as they are displayed: read once, the difference made once, the colours once. */
function displayedArrays(model) {
  const read = new Map();
  const pictures = new Map();

  function kept(store, key, inputs, make) {
    const old = store.get(key);
    if (old && inputs.every((input, i) => input === old.inputs[i])) return old.made;
    const made = make(old?.made);
    store.set(key, { inputs, made });
    return made;
  }

  function array(state, plane) {
    if (state === "difference") {
      const [before, after] = [array("before", plane), array("after", plane)];
      return before && after && kept(read, `difference_${plane}`, [before, after], () => subtract(after, before));
    }
    const trait = `${state}_${plane}`;
    const value = model.get(trait);
    return kept(read, trait, [value], () => readArray(value));
  }

  function picture(state, plane, low, high, table) {
    const values = array(state, plane);
    if (!values) return null;
    return kept(pictures, `${state}_${plane}`, [values, low, high, table], (old) => {
      const canvas = old ?? document.createElement("canvas");
      const pixels = colouredPixels(values, low, high, table);
      Object.assign(canvas, { width: pixels.width, height: pixels.height });
      canvas.getContext("2d").putImageData(pixels, 0, 0);
      return canvas;
    });
  }
  return { array, picture };
}

function subtract(after, before) {
  const values = new Float32Array(after.values.length);
  for (let i = 0; i < values.length; i++) values[i] = after.values[i] - before.values[i];
  return { shape: after.shape, values };
}

/** The longest round length up to a limit. */
function roundLength(limit) {
  const power = 10 ** Math.floor(Math.log10(limit));
  return power * [5, 2, 1].find((step) => step * power <= limit);
}

const signed = (value, digits) => shortNumber(value, digits).replace("-", "−");
const density = (value) => String(Number(value.toPrecision(3))).replace("-", "−");

/** Buttons of which one is pressed, for a trait with a few values. */
function choiceButtons(model, trait, label, options) {
  const buttons = options.map(([value, text, title]) => {
    const onclick = () => {
      model.set(trait, value);
      model.save_changes();
    };
    return element("button", { type: "button", textContent: text, title, role: "radio", value, onclick });
  });
  const box = element("span", { className: "helixlab-choice", role: "radiogroup", "aria-label": label }, ...buttons);
  const update = () => buttons.forEach((b) => b.setAttribute("aria-checked", String(b.value === model.get(trait))));
  return { box, update };
}

/** A bar of colours between the densities of its ends. */
function colourKey(name) {
  const [bar, low, high] = [element("span", { className: "helixlab-colour-bar" }), element("span"), element("span")];
  const box = element("span", {}, `${name} `, low, bar, high);
  let shown = null;
  const update = (colouring) => {
    box.hidden = !colouring;
    if (!colouring) return;
    low.textContent = density(colouring.low);
    high.textContent = density(colouring.high);
    if (colouring.table === shown) return;
    shown = colouring.table;
    const stops = Array.from({ length: 9 }, (_, i) => `rgb(${shown.subarray(3 * Math.round(i * 31.875)).slice(0, 3)})`);
    bar.style.background = `linear-gradient(to right, ${stops})`;
  };
  return { box, update };
}
