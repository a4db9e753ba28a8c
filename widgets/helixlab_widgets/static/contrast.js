// A histogram of densities with two handles: what is black and what is white.

const BINS = 64;

/** The path of a histogram, 1 high and BINS wide; counts on a scale of roots, as most of a map is empty. */
function histogramPath(arrays, [first, last]) {
  const counts = new Float64Array(BINS);
  const perValue = BINS / (last - first || 1);
  for (const { values } of arrays) {
    for (let i = 0; i < values.length; i++) {
      const bin = Math.floor((values[i] - first) * perValue);
      if (bin >= 0 && bin < BINS) counts[bin]++;
    }
  }
  const most = Math.max(...counts, 1);
  const steps = Array.from(counts, (count, i) => `V${1 - Math.sqrt(count / most)}H${i + 1}`);
  return `M0 1${steps.join("")}V1Z`;
}

/**
 * Two handles over a histogram. `read` gives {low, high, ends, arrays}: the limits, the values at the slider's ends,
 * and what the histogram counts; `write` gets the user's limits.
 */
function contrastSlider({ label, read, write }) {
  const drawing = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  drawing.setAttribute("viewBox", `0 0 ${BINS} 1`);
  drawing.setAttribute("preserveAspectRatio", "none");
  drawing.append(path);
  const handle = (name, title) => element("input", { type: "range", title, "aria-label": `${label}: ${name}` });
  const low = handle("lowest value", "What is drawn in the darkest colour");
  const high = handle("highest value", "What is drawn in the brightest colour");
  const box = element("span", { className: "helixlab-contrast" }, drawing, low, high);
  let counted = [];

  /** A handle stops at the other one. */
  function limits(moved) {
    const [a, b, step] = [Number(low.value), Number(high.value), Number(low.step)];
    if (b - a >= step) return [a, b];
    return moved === low ? [b - step, b] : [a, a + step];
  }

  for (const input of [low, high]) {
    input.oninput = () => {
      write(...limits(input));
      update();
    };
    input.onkeydown = (event) => event.stopPropagation(); // JupyterLab has shortcuts of its own
  }

  function update() {
    const { low: least, high: most, ends, arrays } = read();
    const [first, last] = [Math.min(ends[0], least), Math.max(ends[1], most)];
    for (const [input, value] of [[low, least], [high, most]]) {
      Object.assign(input, { min: first, max: last, step: (last - first) / 500 || 1 });
      input.value = value;
    }
    const counts = [first, last, ...arrays];
    if (counts.length === counted.length && counts.every((c, i) => c === counted[i])) return;
    counted = counts;
    path.setAttribute("d", histogramPath(arrays, [first, last]));
  }
  return { box, update };
}
