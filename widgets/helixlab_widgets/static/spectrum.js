// The power spectrum: R to the right, Z up, and the layer lines that the current symmetry allows.

const STEP_PER_A = 0.00002;
const WIDE_MARGIN = { left: 72, right: 52, top: 22, bottom: 40 };

function render({ model, el }) {
  const picture = pictureKeeper(model);
  let active = null; // what the keys move
  let hovered = null;
  let dragId = 0;

  // --- the lines ------------------------------------------------------------------------------------------------------
  function lines() {
    const marks = readArray(model.get("marks"));
    if (!marks) return [];
    const [count, columns] = marks.shape;
    return Array.from({ length: count }, (_, i) => {
      const [order, branch, z, r] = marks.values.subarray(i * columns, (i + 1) * columns);
      return { order, branch, z, r };
    });
  }
  const isSame = (a, b) => Boolean(a && b && a.order === b.order && a.branch === b.branch);
  const find = (wanted) => lines().find((line) => isSame(line, wanted));
  const describeLine = (line) =>
    `Order n = ${signed(line.order)} (branch ${signed(line.branch)}) at 1/${(1 / line.z).toPrecision(4)} Å` +
    (line.order ? " · dragging sets the twist" : " · dragging sets the rise");

  /** The line under the pointer: by height, and among lines of one height by where it is brightest. */
  function nearest({ x, y }) {
    const { frame } = plane;
    if (!frame.holds(x, y) && x < frame.right) return null;
    let [best, least] = [null, REACH_PX];
    for (const line of lines()) {
      if (line.z * frame.perY < 2) continue; // the equator cannot be moved
      const across = Math.abs(Math.abs(frame.xAt(x)) - line.r) * frame.perX;
      const away = Math.abs(frame.y(Math.sign(frame.yAt(y)) * line.z) - y) + 0.01 * across;
      if (away < least) [best, least] = [line, away];
    }
    return best;
  }

  // --- painting ---------------------------------------------------------------------------------------------------------
  function drawPicture(context, frame) {
    const before = picture("before");
    const after = picture("after");
    if (!before) return;
    const [x0, x1] = model.get("x_edges");
    const [y0, y1] = model.get("y_edges");
    const place = [frame.x(x0), frame.y(y1), (x1 - x0) * frame.perX, (y1 - y0) * frame.perY];
    const comparison = after ? model.get("comparison") : "before";
    context.imageSmoothingQuality = "high";
    context.drawImage(comparison === "after" ? after : before, ...place);
    if (comparison !== "halves") return;
    context.save();
    context.beginPath();
    context.rect(frame.x(0), frame.top, frame.right - frame.x(0), frame.bottom - frame.top);
    context.clip();
    context.drawImage(after, ...place);
    context.restore();
  }

  function drawLine(context, frame, line, isMarked) {
    for (const sign of line.z > 0 ? [-1, 1] : [1]) {
      const y = frame.y(sign * line.z);
      const reach = isMarked ? frame.right - frame.left : 14;
      context.beginPath();
      for (const [from, to] of [
        [frame.left, frame.left + reach],
        [frame.right - reach, frame.right],
      ]) {
        context.moveTo(from, y);
        context.lineTo(to, y);
      }
      Object.assign(context, { strokeStyle: MARKER, globalAlpha: isMarked ? 0.9 : 0.8, lineWidth: isMarked ? 1.5 : 1 });
      context.stroke();
      context.globalAlpha = 1;
      for (const side of [-1, 1]) {
        context.beginPath();
        context.arc(frame.x(side * line.r), y, isMarked ? 4.5 : 2.5, 0, 2 * Math.PI);
        context.fillStyle = MARKER;
        context.fill();
        Object.assign(context, { strokeStyle: isMarked ? "#fff" : "rgba(0, 0, 0, 0.6)", lineWidth: 1 });
        context.stroke();
      }
    }
  }

  /** Orders at the right edge of the upper half; where two would overlap, the lower order is named. */
  function drawOrders(context, frame, colours, font) {
    const rows = [];
    const marked = [find(hovered), find(active)].filter(Boolean);
    const rest = lines().sort((a, b) => Math.abs(a.order) - Math.abs(b.order));
    for (const line of [...marked, ...rest]) {
      const y = frame.y(line.z);
      if (line.z === 0 && line.order !== 0) continue;
      const row = rows.find((other) => Math.abs(other.y - y) < 12);
      if (!row) rows.push({ y, orders: [line.order] });
      else if (Math.abs(row.y - y) < 1 && !row.orders.includes(line.order)) row.orders.push(line.order);
    }
    Object.assign(context, { font: `11px ${font}`, fillStyle: colours.text, textAlign: "left", textBaseline: "middle" });
    const fits = (text) => context.measureText(text).width < WIDE_MARGIN.right - 6;
    for (const { y, orders } of rows) {
      const texts = orders.map((_, i) => {
        const rest = i + 1 < orders.length ? " …" : "";
        return orders.slice(0, i + 1).map(signed).join(", ") + rest;
      });
      context.fillText(texts.findLast(fits) ?? signed(orders[0]), frame.right + 5, y);
    }
    context.fillText("order n", frame.right - 4, frame.top - 12);
  }

  function draw(context, frame, colours, font) {
    clipped(context, frame, () => {
      drawPicture(context, frame);
      for (const line of lines()) drawLine(context, frame, line, isSame(line, hovered) || isSame(line, active));
      if (model.get("after") && model.get("comparison") === "halves") {
        haloed(context, "map", frame.left + 20, frame.top + 12, { font });
        haloed(context, "symmetrised", frame.right - 20, frame.top + 12, { align: "right", font });
      }
    });
    if (model.get("marks")) drawOrders(context, frame, colours, font);
    const asLength = (value) => (Math.abs(value) < 1e-9 ? "0" : `1/${shortNumber(1 / Math.abs(value), 1)}`);
    const across = { ticks: lengthTicks(frame.xRange[1], frame.perX, 44), text: asLength };
    const x = { ...across, label: "distance from the meridian R (1/Å)" };
    const y = { ticks: lengthTicks(frame.yRange[1], frame.perY, 18), text: asLength, label: "height Z (1/Å)" };
    drawAxes(context, frame, x, y, colours, font);
  }

  /** Ticks at round lengths in Å, both signs, at least `apart` pixels from one another. */
  function lengthTicks(highest, perUnit, apart) {
    const ticks = [0];
    for (const length of [100, 50, 30, 20, 15, 12, 10, 8, 7, 6, 5, 4.5, 4, 3.5, 3, 2.5, 2]) {
      const at = 1 / length;
      if (at <= highest && (at - Math.max(...ticks)) * perUnit >= apart) ticks.push(at, -at);
    }
    return ticks;
  }

  /** The same scale both ways, as a diffraction pattern has it, as far as there is room. */
  function squareSize(room) {
    const [x0, x1] = model.get("x_edges");
    const [y0, y1] = model.get("y_edges");
    const margin = [WIDE_MARGIN.left + WIDE_MARGIN.right, WIDE_MARGIN.top + WIDE_MARGIN.bottom];
    const perUnit = Math.min((room - margin[0]) / (x1 - x0), (580 - margin[1]) / (y1 - y0));
    return [margin[0] + perUnit * (x1 - x0), margin[1] + Math.max(200, perUnit * (y1 - y0))];
  }

  // --- tools ----------------------------------------------------------------------------------------------------------
  const write = (trait, value) => {
    model.set(trait, value);
    model.save_changes();
  };
  const comparison = choiceOf(model, "comparison", "Which map's spectrum is shown", [
    ["before", "Before", "Of the map as it is"],
    ["after", "After", "Of the map symmetrised with the current twist and rise"],
    ["halves", "Half of each", "Left of the map, right of the symmetrised map"],
  ]);
  const colours = colourMapChoice(model);
  const maxOrder = number("max_order", "Orders up to", "", "Largest Bessel order shown", { min: 0, max: 60, step: 1 });
  const radiusTitle = "Distance of the density from the axis: places the dots";
  const radius = number("radius_A", "Radius", "Å", radiusTitle, { min: 1, max: 1000, step: 1 });

  function number(trait, text, unit, title, limits) {
    const input = element("input", { type: "number", title, "aria-label": `${text} ${unit}`, ...limits });
    input.onchange = () => {
      const value = Number(input.value);
      if (input.value.trim() && value >= limits.min) write(trait, trait === "max_order" ? Math.round(value) : value);
      show();
    };
    input.onkeydown = (event) => event.stopPropagation();
    const show = () => (input.value = shortNumber(model.get(trait), 1));
    return { whole: element("label", { className: "helixlab-slider", title }, text, input, unit), show };
  }

  function update() {
    for (const tool of [comparison, colours, maxOrder, radius]) tool.show();
    comparison.group.hidden = !model.get("after");
    active = find(active) ?? null;
  }

  // --- pointer and keys -------------------------------------------------------------------------------------------------
  const plane = makePlane(model, el, {
    label: "Power spectrum: plus and minus choose a layer line, the up and down arrows move it",
    tools: [comparison.group, maxOrder.whole, radius.whole, colours.select],
    margin: WIDE_MARGIN,
    size: squareSize,
    ranges: () => [model.get("x_edges"), model.get("y_edges")],
    draw,
    traits: ["max_order", "radius_A"],
    update,
  });

  function moveTo(line, z, keepsTwist) {
    // Not through the equator: a pixel above it is as near as a hand can tell.
    const freq = Math.max(z, 1 / plane.frame.perY);
    sendDrag(model, { id: dragId, order: line.order, branch: line.branch, freq_per_A: freq, keeps_twist: keepsTwist });
  }
  const sayActive = () => plane.say(() => (active ? describeLine(find(active) ?? active) : ""));

  function describe({ x, y }) {
    const { frame } = plane;
    if (hovered) return describeLine(hovered);
    if (!frame.holds(x, y)) return "";
    const [r, z] = [Math.abs(frame.xAt(x)), Math.abs(frame.yAt(y))];
    const length = (value) => (value > 1e-4 ? `1/${(1 / value).toFixed(1)} Å` : "0");
    return `R ${length(r)}, Z ${length(z)}, resolution ${(1 / Math.hypot(r, z)).toFixed(1)} Å`;
  }

  followPointer(plane.canvas, {
    grab(at) {
      const line = nearest(at);
      if (!line) return null;
      dragId = Date.now();
      active = line;
      held.forget();
      plane.repaint();
      return { line, side: Math.sign(plane.frame.yAt(at.y)) || 1 };
    },
    move({ line, side }, start, now, event) {
      moveTo(line, line.z - (side * (now.y - start.y)) / plane.frame.perY, event.altKey || event.shiftKey);
      sayActive();
    },
    hover(at) {
      const line = at && nearest(at);
      if (!isSame(line, hovered)) plane.repaint();
      hovered = line;
      plane.canvas.style.cursor = line ? "ns-resize" : "crosshair";
      plane.say(at && (() => describe(at)));
    },
    release: plane.repaint,
  });

  const held = runningAhead(() => {
    dragId = Date.now();
    return find(active);
  });
  function onKey(event) {
    const choose = { "+": 1, "=": 1, "-": -1, _: -1 }[event.key];
    const arrow = { ArrowUp: 1, ArrowDown: -1 }[event.key];
    if (!choose && !arrow) return;
    event.preventDefault();
    event.stopPropagation();
    const movable = lines().filter((line) => line.z > 0);
    if (choose || !active) {
      const at = movable.findIndex((line) => isSame(line, active));
      active = movable[Math.max(0, Math.min(movable.length - 1, at + (choose ?? 1)))] ?? null;
      held.forget();
      plane.repaint();
    } else {
      const line = held((from) => ({ ...from, z: from.z + arrow * STEP_PER_A * (event.shiftKey ? 10 : 1) }));
      if (line) moveTo(line, line.z, event.altKey);
    }
    sayActive();
  }
  plane.canvas.onkeydown = reporting(model, onKey);
  return plane.cleanup;
}
export default viewOf(render);
