// A map and its symmetrised version as surfaces in a scene of NGL, which nglview brings to JupyterLab.

const SURFACES = {
  before: { label: "map", colour: "#7d9cc0" },
  after: { label: "symmetrised", colour: "#e08a3c" },
};
const AXIS_COLOUR = [0.55, 0.55, 0.55];
const MARGIN = 1.12; // of the picture around the box, room for the ends of the axis
const UPRIGHT = [0, Math.SQRT1_2, Math.SQRT1_2, 0]; // NGL looks along +z with +x to the left: x right, z up, y away
const SPIN_DEG_PER_S = 30;

function hasWebGL() {
  const context = document.createElement("canvas").getContext("webgl2");
  context?.getExtension("WEBGL_lose_context")?.loseContext();
  return Boolean(context);
}

/** One map's surface: made on its first use, changed in place afterwards, so that camera and colours stay. */
class Surface {
  constructor(NGL, stage, { colour }) {
    Object.assign(this, { NGL, stage, colour, source: null, component: null, repr: null });
  }

  /** Triangulates what is new; `level` is in density units. */
  show(source, grid, level, opacity) {
    const { shape, values } = readArray(source);
    const isolevel = ((level - grid.low) / (grid.high - grid.low)) * 255;
    const isNew = source !== this.source;
    this.source = source;
    if (!this.component) this.make(values, shape, grid, isolevel, opacity);
    else {
      if (isNew) this.replace(values, shape, grid);
      if (isNew || isolevel !== this.repr.isolevel) {
        this.repr.isolevel = isolevel;
        this.repr.build();
      }
      // Each of these draws at once, before the new triangles are made: only where something changes.
      if (opacity !== this.repr.opacity) this.repr.setParameters({ opacity, depthWrite: opacity === 1 });
      if (!this.repr.visible) this.repr.setVisibility(true);
    }
  }

  hide() {
    if (this.repr?.visible) this.repr.setVisibility(false);
  }

  make(values, [nz, ny, nx], grid, isolevel, opacity) {
    const volume = new this.NGL.Volume("map", "", values, nx, ny, nz);
    volume.setMatrix(this.matrix(grid));
    this.component = this.stage.addComponentFromObject(volume);
    this.repr = this.component.addRepresentation("surface", {
      isolevelType: "value",
      isolevel,
      color: this.colour,
      opacity,
      depthWrite: opacity === 1,
      side: "back", // NGL's word for the outside; Python closes the surface, so that the inside need not be drawn
      opaqueBack: false,
      useWorker: false,
      disablePicking: true,
    }).repr;
  }

  /** NGL has no call for this: it keeps triangulated what it was given first. */
  replace(values, [nz, ny, nx], grid) {
    const { volume } = this.component;
    volume.setData(values, nx, ny, nz);
    volume.setMatrix(this.matrix(grid));
    volume.volsurf = undefined;
    this.repr.surface = undefined;
  }

  matrix({ pixel_size_A: size, origin_A: [x, y, z] }) {
    return new this.NGL.Matrix4().makeScale(size, size, size).setPosition(x, y, z);
  }
}

/** The stage with all that is on it; `dispose` gives the browser everything back. */
class Scene {
  constructor(NGL, container, model) {
    Object.assign(this, { NGL, container, model, isFitted: true, box: "", axis: null, atoms: null, atomsShown: null });
    const stage = (this.stage = new NGL.Stage(container));
    this.viewer = stage.viewer;
    this.surfaces = Object.fromEntries(
      Object.entries(SURFACES).map(([name, look]) => [name, new Surface(NGL, stage, look)]),
    );
    stage.setParameters({ cameraType: "orthographic", sampleLevel: -1, hoverTimeout: -1, clipDist: 0 });
    stage.setParameters({ lightIntensity: 1.0, ambientIntensity: 0.6 });
    stage.mouseControls.clear();
    const { rotateDrag, panDrag, zoomScroll } = NGL.MouseActions;
    stage.mouseControls.add("drag-left", rotateDrag);
    for (const trigger of ["drag-right", "drag-shift-left"]) stage.mouseControls.add(trigger, panDrag);
    for (const trigger of ["scroll", "scroll-ctrl"]) stage.mouseControls.add(trigger, zoomScroll);
    stage.keyControls.clear();
    stage.viewerControls.signals.changed.add(() => (this.isFitted = this.isFitting === true));
    this.canvas = this.viewer.renderer.domElement;
  }

  get(name) {
    return this.model.get(name);
  }

  /** Draws the traits; resolves when the triangles are made. */
  update() {
    const [shown, level] = [this.get("shown"), this.get("mean") + this.get("level_sigma") * this.get("sigma")];
    const has = (name) => Boolean(this.get(name));
    const isWanted = { before: shown !== "after" || !has("after"), after: shown !== "before" };
    const isBoth = shown === "both" && has("after");
    for (const [name, surface] of Object.entries(this.surfaces)) {
      if (!has(name) || !isWanted[name]) surface.hide();
      else surface.show(this.get(name), this.get(`${name}_grid`), level, isBoth && name === "after" ? 0.55 : 1);
    }
    this.placeBox();
    return Promise.all([this.showAtoms(), new Promise((resolve) => this.stage.tasks.onZeroOnce(resolve))]);
  }

  /** The axis and the camera, when the map's place or size has changed. */
  placeBox() {
    const source = this.get("before");
    if (!source) return;
    const { pixel_size_A: size, origin_A: origin } = this.get("before_grid");
    const lengths = source.shape.toReversed().map((n) => n * size);
    const centre = origin.map((x, i) => x + size * Math.floor(source.shape[2 - i] / 2));
    const box = [...lengths, ...centre].map((x) => Math.round(x)).join();
    if (box === this.box) return;
    this.box = box;
    Object.assign(this, { lengths, centre });
    this.drawAxis();
    // Clipping and fog by the box: NGL's own follow the first surface it was given, however small.
    const radius = Math.hypot(...lengths) / 2;
    this.stage.setParameters({ clipScale: "absolute", clipNear: radius, clipFar: radius, fogNear: 0, fogFar: 2 * radius });
    this.fit();
  }

  drawAxis() {
    if (this.axis) this.stage.removeComponent(this.axis);
    const [x, y, z] = this.centre;
    const half = (this.lengths[2] / 2) * (1 + 0.8 * (MARGIN - 1));
    const radius = Math.max(...this.lengths) / 400;
    const neck = z + half - 8 * radius;
    const shape = new this.NGL.Shape("helical axis");
    shape.addCylinder([x, y, z - half], [x, y, neck], AXIS_COLOUR, radius);
    shape.addCone([x, y, neck], [x, y, z + half], AXIS_COLOUR, 3 * radius);
    this.axis = this.stage.addComponentFromObject(shape);
    this.axis.addRepresentation("buffer", { disablePicking: true });
  }

  /** An atomic model beside the map, in the map's coordinates. */
  async showAtoms() {
    const atoms = this.get("atoms");
    if (atoms === this.atomsShown) return;
    this.atomsShown = atoms;
    if (this.atoms) this.stage.removeComponent(this.atoms);
    this.atoms = null;
    if (!atoms?.text) return;
    const blob = new Blob([atoms.text], { type: "text/plain" });
    const loaded = await this.stage.loadFile(blob, { ext: atoms.format, defaultRepresentation: false });
    if (atoms !== this.atomsShown) this.stage.removeComponent(loaded);
    else {
      this.atoms = loaded;
      loaded.addRepresentation("cartoon", { colorScheme: "chainindex" });
      loaded.addRepresentation("ball+stick", { sele: "hetero and not water" });
    }
  }

  /** Helical axis upright, the whole box in the picture. */
  fit() {
    if (!this.centre) return;
    const [x, y, z] = this.lengths;
    const height = MARGIN * Math.max(z, (Math.hypot(x, y) * this.viewer.height) / this.viewer.width);
    this.isFitting = true;
    this.stage.viewerControls.rotate(new this.NGL.Quaternion(...UPRIGHT));
    this.stage.viewerControls.center(new this.NGL.Vector3(...this.centre));
    this.stage.viewerControls.distance(height / 2 / Math.tan((this.viewer.perspectiveCamera.fov * Math.PI) / 360));
    this.isFitting = false;
  }

  resize() {
    if (!this.container.clientWidth) return;
    this.stage.handleResize();
    if (this.isFitted) this.fit();
    else this.viewer.updateZoom();
  }

  /** Turns the picture by an angle about an axis of the screen; without one, about the helical axis. */
  turn(angle_deg, axis) {
    const angle = (angle_deg * Math.PI) / 180;
    if (axis) this.stage.viewerControls.spin(axis, angle);
    else {
      this.viewer.rotationGroup.rotateZ(angle);
      this.stage.viewerControls.changed();
    }
  }

  pixelsPerA() {
    return 1 / this.stage.viewerControls.getCanvasScaleFactor();
  }

  dispose() {
    this.stage.removeAllComponents();
    this.stage.dispose();
    if (!this.viewer.renderer.getContext().isContextLost()) this.viewer.renderer.forceContextLoss();
    this.container.replaceChildren();
  }
}
