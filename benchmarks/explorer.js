// What the benchmark does in the page: moves a control as a user would, and times the frames that follow.

(() => {
  const SLICES = ".helixlab-slices canvas[data-painted]";
  const CURVE = ".helixlab-fsc path.line";
  const LIMIT_MS = 20_000;

  const number = () => document.querySelector('.helixlab-number[data-name="twist_deg"]');
  const nextFrame = () => new Promise(requestAnimationFrame);
  const rest = (ms) => new Promise((done) => setTimeout(done, ms));
  const painted = () => document.querySelector(SLICES)?.dataset.painted;
  const curves = () => [...document.querySelectorAll(CURVE)].map((path) => path.getAttribute("d")).join();

  /** A curve has many points, a threshold's line two. */
  const hasCurve = () => [...document.querySelectorAll(CURVE)].some((path) => path.getAttribute("d")?.length > 200);

  /** The slices' pixels as a number. */
  function picture() {
    const canvas = document.querySelector(SLICES);
    const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return new Uint32Array(data.buffer).reduce((sum, pixel) => (31 * sum + pixel) | 0, 0);
  }

  function press(key) {
    number().querySelector("input").dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  }

  /** Milliseconds from start until `read` gave something else than before, and the frame after that began. */
  async function change(read, before, start) {
    while (read() === before) {
      if (performance.now() - start > LIMIT_MS) return null;
      await nextFrame();
    }
    await nextFrame();
    return performance.now() - start;
  }

  /** Seconds from now until slices and curves are painted. */
  async function opening() {
    const start = performance.now();
    const until = async (isThere) => {
      while (!isThere()) await nextFrame();
      await nextFrame();
      return (performance.now() - start) / 1000;
    };
    const [slices_s, curves_s] = await Promise.all([until(painted), until(hasCurve)]);
    return { slices_s, curves_s };
  }

  /** Key events on the twist's field, one after the last one's curves were drawn and a rest that varies. */
  async function moves(count) {
    const found = { slices_ms: [], fsc_ms: [], pictures: 0 };
    for (let i = 0; i < count; i++) {
      await rest(50 * (i % 8)); // the background work after a move begins at another phase of the next
      await nextFrame();
      const before = [painted(), curves(), picture()];
      const start = performance.now();
      press("ArrowUp");
      const times = await Promise.all([change(painted, before[0], start), change(curves, before[1], start)]);
      found.slices_ms.push(times[0]);
      found.fsc_ms.push(times[1]);
      found.pictures += picture() !== before[2];
    }
    return found;
  }

  /** The twist's slider dragged to and fro, an event per frame; then what is painted when all has settled. */
  async function drag(seconds) {
    const slider = number().querySelector("input[type=range]");
    const middle = Number(slider.value);
    const first = Number(painted());
    let [paints, last] = [0, painted()];
    const begin = performance.now();
    let released = begin;
    for (let i = 1; released - begin < 1000 * seconds; i++) {
      slider.value = middle + 2 * Math.sin(i / 40);
      slider.dispatchEvent(new Event("input", { bubbles: true }));
      await nextFrame();
      released = performance.now();
      if (painted() !== last) [paints, last] = [paints + 1, painted()];
    }
    slider.dispatchEvent(new Event("change", { bubbles: true }));
    let settled = released;
    while (performance.now() - Math.max(settled, released) < 3000) {
      await nextFrame();
      if (painted() !== last) [last, settled] = [painted(), performance.now()];
    }
    const value = Number(slider.value);
    const seen = picture();
    for (const key of ["ArrowUp", "ArrowDown"]) {
      const now = painted();
      press(key);
      await change(painted, now, performance.now());
      await rest(1000);
    }
    return { paints, settle_ms: settled - released, value, repaints: Number(last) - first, is_same: picture() === seen };
  }

  window.helixlabBench = { opening, moves, drag };
})();
