// The unrolled cylinder: φ to the right, z up, and on it the lattice of the current symmetry.

const STEP = { phi: 0.1, z: 0.1, many: 10 };

function render({ model, el }) {
  const picture = pictureKeeper(model, 1);
  let active = { k: 1, turn: 0 }; // what the keys move and the read-out names
  let hovered = null;
  let dragId = 0;

  // --- the lattice's points ---------------------------------------------------------------------------------------
  function points() {
    const marks = readArray(model.get("marks"));
    if (!marks) return [];
    const [count, columns] = marks.shape;
    return Array.from({ length: count }, (_, i) => {
      const [k, turn, phi, z] = marks.values.subarray(i * columns, (i + 1) * columns);
      return { k, turn, phi, z };
    });
  }
  const isSame = (a, b) => Boolean(a && b && a.k === b.k && a.turn === b.turn);
  const find = (wanted) => points().find((point) => isSame(point, wanted));
  const isOrigin = (point) => point.k === 0 && point.turn === 0;
  const name = (point) => `k = ${signed(point.k)}` + (model.get("cyclic_order") > 1 ? `, strand ${point.turn + 1}` : "");
  const wrap = (phi) => 180 - ((((180 - phi) % 360) + 360) % 360);

  function nearest({ x, y }) {
    const { frame } = plane;
    let [best, least] = [null, REACH_PX];
    for (const point of points()) {
      const away = Math.hypot(frame.x(point.phi) - x, frame.y(point.z) - y);
      if (away < least) [best, least] = [point, away];
    }
    return best;
  }

  // --- painting -----------------------------------------------------------------------------------------------------
  function drawPicture(context, frame) {
    const shown = picture(model.get("comparison") === "after" && model.get("after") ? "after" : "before");
    if (!shown) return;
    const [x0, x1] = model.get("x_edges");
    const [y0, y1] = model.get("y_edges");
    context.imageSmoothingQuality = "high";
    // Columns are centred on their angle, half a column beside the axis; the picture goes around by one at each end.
    const column = (x1 - x0) / (shown.width - 2);
    const wide = (x1 - x0 + 2 * column) * frame.perX;
    context.drawImage(shown, frame.x(x0 - column), frame.y(y1), wide, (y1 - y0) * frame.perY);
  }

  function drawOneStarts(context, frame) {
    const [twist, rise] = model.get("step");
    const order = model.get("cyclic_order");
    const apartPx = (rise * 360 * frame.perY) / (Math.abs(twist) || 1e-9) / order;
    if (apartPx < 7) return; // lines so close would hide the picture
    const [phi0, z0] = model.get("origin");
    const [low, high] = frame.yRange;
    context.beginPath();
    for (let turn = 0; turn < order; turn++) {
      // From the bottom to the top, once for each time that the line goes around.
      const [from, to] = [low, high].map((z) => phi0 + (360 * turn) / order + ((z - z0) / rise) * twist);
      const first = Math.floor((Math.min(from, to) + 180) / 360);
      const last = Math.floor((Math.max(from, to) + 180) / 360);
      for (let around = first; around <= last; around++) {
        context.moveTo(frame.x(from - 360 * around), frame.bottom);
        context.lineTo(frame.x(to - 360 * around), frame.top);
      }
    }
    Object.assign(context, { strokeStyle: MARKER, globalAlpha: 0.6, lineWidth: 1 });
    context.stroke();
    context.globalAlpha = 1;
  }

  function drawPoints(context, frame, font) {
    const all = points();
    const area = ((frame.right - frame.left) * (frame.bottom - frame.top)) / Math.max(1, all.length);
    const radius = Math.max(2, Math.min(6, Math.sqrt(area) / 6));
    for (const point of all) {
      const isMarked = isSame(point, active) || isSame(point, hovered);
      ring(context, frame, point, isMarked ? radius + 2 : radius, isMarked);
      if (isOrigin(point)) ring(context, frame, point, radius + 5, isMarked);
    }
    const placed = [];
    const label = (point, text) => {
      const [x, y] = [frame.x(point.phi), frame.y(point.z)];
      if (placed.some(([a, b]) => Math.abs(a - x) < 40 && Math.abs(b - y) < 14)) return;
      placed.push([x, y]);
      const isRight = x > frame.right - 90;
      const beside = radius + (isOrigin(point) ? 10 : 6);
      haloed(context, text, x + (isRight ? -beside : beside), y, { align: isRight ? "right" : "left", font });
    };
    for (const point of [find(hovered), find(active)]) if (point) label(point, name(point));
    for (const point of all) if (point.turn === 0 && Math.abs(point.k) <= 3) label(point, signed(point.k));
  }

  /** A ring: the density under it stays visible. */
  function ring(context, frame, { phi, z }, radius, isMarked) {
    for (const [strokeStyle, lineWidth] of [
      ["rgba(0, 0, 0, 0.75)", 4],
      [isMarked ? "#fff" : MARKER, isMarked ? 2.5 : 1.8],
    ]) {
      context.beginPath();
      context.arc(frame.x(phi), frame.y(z), radius, 0, 2 * Math.PI);
      Object.assign(context, { strokeStyle, lineWidth });
      context.stroke();
    }
  }

  function draw(context, frame, colours, font) {
    clipped(context, frame, () => {
      drawPicture(context, frame);
      if (!model.get("marks")) return;
      drawOneStarts(context, frame);
      drawPoints(context, frame, font);
    });
    const count = frame.right - frame.left > 420 ? 12 : 6;
    const x = { ticks: roundTicks(-180, 180, count, true), text: signed, label: "φ (°)" };
    const y = { ticks: roundTicks(...frame.yRange, 7), text: (z) => signed(shortNumber(z)), label: "z (Å)" };
    drawAxes(context, frame, x, y, colours, font);
  }

  // --- tools ----------------------------------------------------------------------------------------------------------
  const comparison = choiceOf(model, "comparison", "Which map is shown", [
    ["before", "Before", "The map as it is"],
    ["after", "After", "The map symmetrised with the current twist and rise"],
  ]);
  const colours = colourMapChoice(model);
  const write = (trait, value) => {
    model.set(trait, value);
    model.save_changes();
  };
  const wall = element("input", { type: "checkbox", onchange: chooseWall });
  const wallTitle = "The mean over all radii between the filament's inner and outer wall";
  const wholeWall = element("label", { className: "helixlab-slider", title: wallTitle }, wall, "Whole wall");
  const radius = slider("radius_A", "Radius", "Distance from the axis at which the wall is cut");
  const thickness = slider("thickness_A", "Thickness", "Range of radii averaged around the radius");
  const reset = element("button", {
    type: "button",
    textContent: "Reset origin",
    title: "Move the lattice's origin back to φ = 0, z = 0",
    onclick: () => write("origin", [0, 0]),
  });

  function chooseWall() {
    write("radius_A", wall.checked ? null : model.get("shown_radius_A") || 0.5 * model.get("max_radius_A"));
  }

  function slider(trait, text, title) {
    const input = element("input", { type: "range", step: 0.5, min: 0, title, "aria-label": `${text} (Å)` });
    input.oninput = () => write(trait, Number(input.value));
    input.onkeydown = (event) => event.stopPropagation();
    const value = element("output");
    const show = (number, min, max) => {
      Object.assign(input, { min, max, value: number });
      value.textContent = `${number.toFixed(1)} Å`;
    };
    return { whole: element("label", { className: "helixlab-slider", title }, text, input, value), input, show };
  }

  function update() {
    comparison.show();
    comparison.group.hidden = !model.get("after");
    colours.show();
    const [at, max] = [model.get("radius_A"), model.get("max_radius_A")];
    for (const tool of [wholeWall, radius.whole, thickness.whole]) tool.hidden = !model.get("can_unroll");
    wall.checked = at === null;
    radius.input.disabled = thickness.input.disabled = at === null;
    radius.show(at ?? model.get("shown_radius_A"), 1, max);
    thickness.show(model.get("thickness_A"), 0, Math.max(20, model.get("thickness_A")));
    reset.hidden = !model.get("marks");
  }

  // --- pointer and keys -------------------------------------------------------------------------------------------------
  const plane = makePlane(model, el, {
    label: "Unrolled cylinder: plus and minus choose a point of the lattice, the arrow keys move it",
    tools: [
      comparison.group,
      wholeWall,
      radius.whole,
      thickness.whole,
      reset,
      colours.select,
    ],
    size: (width) => [width, Math.max(280, Math.min(460, 0.62 * width))],
    ranges: () => [[-180, 180], model.get("y_edges")],
    draw,
    traits: ["origin", "step", "cyclic_order", "radius_A", "thickness_A", "shown_radius_A", "max_radius_A", "can_unroll"],
    update,
  });

  function moveTo(point, phi, z) {
    if (isOrigin(point)) write("origin", [wrap(phi), z].map((value) => Number(value.toFixed(3))));
    else sendDrag(model, { id: dragId, k: point.k, turn: point.turn, phi_deg: phi, z_A: z });
  }

  function describe({ x, y }) {
    const { frame } = plane;
    if (!frame.holds(x, y)) return "";
    const [phi, z] = [frame.xAt(x), frame.yAt(y)];
    const shown = model.get("comparison") === "after" && model.get("after") ? "after" : "before";
    const array = readArray(model.get(shown));
    const value = array ? valueAt(array, model.get("x_edges"), model.get("y_edges"), phi, z) : NaN;
    const parts = [`φ ${phi.toFixed(1)}°, z ${z.toFixed(1)} Å`];
    if (Number.isFinite(value)) parts.push(`density ${value.toPrecision(3)}`);
    if (hovered) parts.push(`point ${name(hovered)}`);
    return parts.join(" · ");
  }

  function describePoint() {
    const point = find(active);
    const [twist, rise] = model.get("step");
    if (!point) return "";
    const place = `Point ${name(point)} at φ ${point.phi.toFixed(1)}°, z ${point.z.toFixed(1)} Å`;
    return `${place} · twist ${twist.toFixed(3)}°, rise ${rise.toFixed(3)} Å`;
  }

  /** What moves with a point: points beside the origin on its ring say nothing of twist and rise, and move the origin. */
  function handle(point) {
    if (point?.k !== 0) return point;
    const [phi, z] = model.get("origin");
    return { k: 0, turn: 0, phi, z };
  }

  followPointer(plane.canvas, {
    grab(at, event) {
      dragId = Date.now();
      const isWhole = event.altKey || event.shiftKey;
      const point = isWhole && plane.frame.holds(at.x, at.y) ? handle({ k: 0 }) : nearest(at);
      if (!point) return null;
      active = { k: point.k, turn: point.turn };
      held.forget();
      plane.repaint();
      return handle(point);
    },
    move(point, start, now) {
      moveTo(point, point.phi + (now.x - start.x) / plane.frame.perX, point.z - (now.y - start.y) / plane.frame.perY);
      plane.say(describePoint);
    },
    hover(at) {
      const point = at && nearest(at);
      if (!isSame(point, hovered)) plane.repaint();
      hovered = point;
      plane.canvas.style.cursor = point ? "grab" : "crosshair";
      plane.say(at && (() => describe(at)));
    },
    release: plane.repaint,
  });

  const held = runningAhead(() => {
    dragId = Date.now();
    return handle(find(active));
  });
  function onKey(event) {
    const choose = { "+": 1, "=": 1, "-": -1, _: -1 }[event.key];
    const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1] }[event.key];
    if (!choose && !arrow && event.key !== "0") return;
    event.preventDefault();
    event.stopPropagation();
    if (arrow) {
      const many = event.shiftKey ? STEP.many : 1;
      const [byPhi, byZ] = [arrow[0] * many * STEP.phi, arrow[1] * many * STEP.z];
      const point = held(({ phi, z, ...rest }) => ({ ...rest, phi: phi + byPhi, z: z + byZ }));
      if (point) moveTo(point, point.phi, point.z);
    } else {
      const order = model.get("cyclic_order");
      const place = choose ? active.k * order + active.turn + choose : 0;
      const next = { k: Math.floor(place / order), turn: ((place % order) + order) % order };
      if (find(next)) active = next;
      held.forget();
      plane.repaint();
    }
    plane.say(describePoint);
  }
  plane.canvas.onkeydown = reporting(model, onKey);
  return plane.cleanup;
}
export default viewOf(render);
