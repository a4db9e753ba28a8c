// Helpers shared by all canvases; Python joins this file with each module of a view.

/** The typed array of an array trait ({dtype, shape, data: DataView}); null if there is none. */
function readArray(value) {
  if (!value) return null;
  const { data, dtype, shape } = value;
  const view = data instanceof DataView ? data : new DataView(data.buffer ?? data);
  if (dtype === "uint8") return { shape, values: new Uint8Array(view.buffer, view.byteOffset, view.byteLength) };
  // A Float32Array starts at a multiple of four bytes; messages promise none.
  const isAligned = view.byteOffset % 4 === 0;
  const buffer = isAligned ? view.buffer : view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
  return { shape, values: new Float32Array(buffer, isAligned ? view.byteOffset : 0, view.byteLength / 4) };
}

/** An element with attributes, properties (`onclick`, `textContent`, ...) and children. */
function element(tag, options = {}, ...children) {
  const made = document.createElement(tag);
  // JupyterLab has shortcuts of its own for the arrow keys and Enter, and takes them unless told not to.
  if (["button", "input", "select", "textarea"].includes(tag)) made.dataset.lmSuppressShortcuts = "true";
  for (const [name, value] of Object.entries(options)) {
    if (name in made && name !== "style") made[name] = value;
    else made.setAttribute(name, value);
  }
  made.append(...children);
  return made;
}

/** Calls back on changes of the model's traits; returns what ends that. */
function listen(model, names, callback) {
  const events = names.map((name) => `change:${name}`).join(" ");
  model.on(events, callback);
  return () => model.off(events, callback);
}

/** A function that asks for `draw` at the browser's next frame, once however often it is called. */
function oncePerFrame(draw) {
  let request = 0;
  const ask = () => {
    request ||= requestAnimationFrame(() => {
      request = 0;
      draw();
    });
  };
  ask.cancel = () => cancelAnimationFrame(request);
  return ask;
}

/**
 * Calls back with the element's width, in whole CSS pixels, when its size changes; returns what ends that.
 *
 * What is drawn at a later time is drawn for this width: an element that a notebook hides for a moment has none, and
 * nobody is told when it comes back as large as it was.
 */
function onResize(el, callback) {
  const observer = new ResizeObserver((entries) => callback(Math.floor(entries.at(-1).contentRect.width)));
  observer.observe(el);
  return () => observer.disconnect();
}

/** Tells the view, which shows it, what went wrong in the browser. */
function report(model, error) {
  model.send({ intent: "error", message: String(error?.message ?? error) });
}

/** Wraps a function so that what it throws reaches the view. */
function reporting(model, action) {
  return (...args) => {
    try {
      return action(...args);
    } catch (error) {
      report(model, error);
      return undefined;
    }
  };
}

/** What a module exports: `render`, and the view told of all that goes wrong in it, also in handlers and promises. */
function viewOf(render) {
  return {
    async render({ model, el }) {
      // Each model has its module at an address of its own, which is in the stack of whatever is thrown there.
      const onFault = ({ error, reason }) => {
        const fault = error ?? reason;
        if (String(fault?.stack).includes(import.meta.url)) report(model, fault);
      };
      window.addEventListener("error", onFault);
      window.addEventListener("unhandledrejection", onFault);
      let end;
      try {
        end = await render({ model, el });
      } catch (error) {
        report(model, error);
      }
      return () => {
        window.removeEventListener("error", onFault);
        window.removeEventListener("unhandledrejection", onFault);
        end?.();
      };
    },
  };
}

/** JupyterLab's colours where the element stands; they follow the theme, and Voila has them too. */
function themeColours(el) {
  const style = getComputedStyle(el);
  const read = (name, fallback) => style.getPropertyValue(name).trim() || fallback;
  return {
    text: read("--jp-ui-font-color1", "#222"),
    faint: read("--jp-ui-font-color2", "#666"),
    line: read("--jp-border-color2", "#ccc"),
    ground: read("--jp-layout-color1", "#fff"),
    accent: read("--jp-brand-color1", "#1976d2"),
  };
}

/** Calls back when the theme changes; returns what ends that. */
function onTheme(callback) {
  const observer = new MutationObserver(callback);
  const attributes = ["data-jp-theme-name", "data-jp-theme-light", "data-theme", "class"];
  observer.observe(document.body, { attributeFilter: attributes });
  return () => observer.disconnect();
}

/** A canvas sized to its box in CSS pixels times the screen's density; returns its scaled context. */
function fitCanvas(canvas, width, height) {
  const density = window.devicePixelRatio || 1;
  const [w, h] = [Math.round(width * density), Math.round(height * density)];
  if (canvas.width !== w) canvas.width = w;
  if (canvas.height !== h) canvas.height = h;
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.setTransform(density, 0, 0, density, 0, 0);
  return context;
}

/** Array rows (the first at the bottom) as coloured pixels; `table` holds 256 RGB triples, NaN is transparent. */
function colouredPixels({ shape, values }, low, high, table) {
  const [rows, columns] = shape;
  const picture = new ImageData(columns, rows);
  const pixels = new Uint32Array(picture.data.buffer);
  const colours = new Uint32Array(256);
  for (let i = 0; i < 256; i++) {
    colours[i] = (255 << 24) | (table[3 * i + 2] << 16) | (table[3 * i + 1] << 8) | table[3 * i];
  }
  const scale = 255 / (high - low || 1);
  for (let row = 0; row < rows; row++) {
    const from = (rows - 1 - row) * columns;
    for (let column = 0; column < columns; column++) {
      const level = (values[from + column] - low) * scale;
      pixels[row * columns + column] = Number.isNaN(level) ? 0 : colours[level < 0 ? 0 : level > 255 ? 255 : level | 0];
    }
  }
  return picture;
}

/** At most `count` or so round numbers from low to high; angles in parts of a turn. */
function roundTicks(low, high, count = 6, isAngle = false) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const steps = isAngle && rough > 1 ? [1, 2, 5, 10, 15, 30, 45, 60, 90, 180] : [1, 2, 2.5, 5, 10].map((s) => s * power);
  const step = steps.find((s) => s >= rough) ?? steps.at(-1);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + 1e-9 * step; i++) ticks.push(i * step);
  return ticks;
}

/** A number without trailing zeros or rounding dust. */
function shortNumber(value, digits = 3) {
  return String(Number(value.toFixed(digits)));
}
