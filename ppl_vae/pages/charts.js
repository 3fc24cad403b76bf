// Elements, and plots in SVG.

const html = (tag, attributes = {}, ...children) => filled(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const unique = ((count) => (name) => `${name}-${count++}`)(0);
const digits = (v, n = 4) => (v === null || v === undefined ? "not known" : String(Number(v.toPrecision(n))));

// Okabe and Ito's colours, told apart with any colour vision; shapes tell more than seven apart.
const COLOURS = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#b8a800"];
const SHAPES = ["circle", "square", "triangle", "cross"];
const VIRIDIS = ["#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725"];

const look = (code) => ({ colour: COLOURS[code % COLOURS.length], shape: SHAPES[Math.floor(code / COLOURS.length) % SHAPES.length] });

function marker(shape, x, y, r, attributes) {
  const outline = {
    circle: `M${x - r},${y}a${r},${r} 0 1 0 ${2 * r},0a${r},${r} 0 1 0 ${-2 * r},0`,
    square: `M${x - r},${y - r}h${2 * r}v${2 * r}h${-2 * r}z`,
    triangle: `M${x},${y - 1.2 * r}l${1.2 * r},${2.1 * r}h${-2.4 * r}z`,
    cross: `M${x - r},${y - r / 3}h${r * 0.67}v${-r * 0.67}h${r * 0.67}v${r * 0.67}h${r * 0.67}v${r * 0.67}h${-r * 0.67}v${r * 0.67}h${-r * 0.67}v${-r * 0.67}h${-r * 0.67}z`,
  };
  return svg("path", { d: outline[shape], ...attributes });
}

function bounds(values, pad = 0.05) {
  const finite = values.filter((v) => v !== null && Number.isFinite(v));
  if (!finite.length) return [0, 1];
  const [low, high] = [finite.reduce((a, b) => Math.min(a, b)), finite.reduce((a, b) => Math.max(a, b))];
  const room = (high - low || Math.abs(high) || 1) * pad;
  return [low - room, high + room];
}

function ticks([low, high], most = 6) {
  const rough = (high - low) / most;
  const ten = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((f) => f * ten).find((s) => s >= rough);
  const found = [];
  for (let k = Math.ceil(low / step); k * step <= high + 1e-9 * step; k++) found.push(Number((k * step).toPrecision(12)));
  return found;
}

// Axes in which values have places; `x` and `y` are {label, range}.
class Plot {
  constructor(host, { label, x, y, width = 520, height = 330, drag = false }) {
    width = Math.max(280, Math.min(width, host.clientWidth || width)); // text keeps its size on a phone
    [this.x, this.y, this.width, this.height] = [x, y, width, height];
    this.edge = { left: 62, right: 12, top: 10, bottom: 44 };
    const clip = unique("clip");
    const { left, right, top, bottom } = this.edge;
    const inside = { x: left, y: top, width: width - left - right, height: height - top - bottom };
    this.area = svg("g", { "clip-path": `url(#${clip})` });
    this.axes = svg("g", { "aria-hidden": "true" });
    this.svg = svg("svg", { class: drag ? "plot drag" : "plot", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
      svg("defs", {}, svg("clipPath", { id: clip }, svg("rect", inside))), this.axes, this.area);
    host.append(this.svg);
    this.drawAxes();
  }

  X(v) {
    const { left, right } = this.edge;
    return left + ((v - this.x.range[0]) / (this.x.range[1] - this.x.range[0])) * (this.width - left - right);
  }

  Y(v) {
    const { top, bottom } = this.edge;
    return this.height - bottom - ((v - this.y.range[0]) / (this.y.range[1] - this.y.range[0])) * (this.height - top - bottom);
  }

  // Values at the place of a pointer.
  at(event) {
    const box = this.svg.getBoundingClientRect();
    const px = ((event.clientX - box.left) / box.width) * this.width;
    const py = ((event.clientY - box.top) / box.height) * this.height;
    const { left, right, top, bottom } = this.edge;
    const part = (p, from, to) => Math.min(1, Math.max(0, (p - from) / (to - from)));
    const [u, v] = [part(px, left, this.width - right), part(py, this.height - bottom, top)];
    const mix = ([low, high], t) => low + t * (high - low);
    return { x: mix(this.x.range, u), y: mix(this.y.range, v), px, py };
  }

  drawAxes() {
    const { left, right, top, bottom } = this.edge;
    const base = this.height - bottom;
    this.axes.replaceChildren();
    for (const v of ticks(this.x.range, this.width / 80)) {
      this.axes.append(svg("line", { class: "grid", x1: this.X(v), x2: this.X(v), y1: top, y2: base }));
      this.axes.append(svg("text", { x: this.X(v), y: base + 16, "text-anchor": "middle" }, String(v)));
    }
    for (const v of this.y.hidden ? [] : ticks(this.y.range, 5)) {
      this.axes.append(svg("line", { class: "grid", x1: left, x2: this.width - right, y1: this.Y(v), y2: this.Y(v) }));
      this.axes.append(svg("text", { x: left - 6, y: this.Y(v) + 4, "text-anchor": "end" }, String(v)));
    }
    this.axes.append(svg("path", { class: "axis", d: `M${left},${top}V${base}H${this.width - right}` }));
    this.axes.append(svg("text", { x: (left + this.width - right) / 2, y: this.height - 8, "text-anchor": "middle" }, this.x.label));
    const middle = (top + base) / 2;
    this.axes.append(svg("text", { x: 14, y: middle, "text-anchor": "middle", transform: `rotate(-90 14 ${middle})` }, this.y.label ?? ""));
  }

  line(xs, ys, attributes) {
    let d = "";
    ys.forEach((v, i) => {
      if (v !== null) d += `${d && ys[i - 1] !== null ? "L" : "M"}${this.X(xs[i]).toFixed(1)},${this.Y(v).toFixed(1)}`;
    });
    const path = svg("path", { d, fill: "none", ...attributes });
    this.area.append(path);
    return path;
  }

  level(v, words) {
    const { left, right } = this.edge;
    this.area.append(svg("line", { class: "limit", x1: left, x2: this.width - right, y1: this.Y(v), y2: this.Y(v) }));
    this.area.append(svg("text", { x: this.width - right - 4, y: this.Y(v) - 5, "text-anchor": "end" }, words));
  }

  // Points {x, y, colour, shape}; returns their group.
  points(list, { r = 3.5, ...attributes } = {}) {
    const group = svg("g", attributes);
    for (const p of list) {
      if (p.x === null || p.y === null) continue;
      group.append(marker(p.shape ?? "circle", this.X(p.x), this.Y(p.y), r, { fill: p.colour ?? COLOURS[0] }));
    }
    this.area.append(group);
    return group;
  }

  // The number of the point nearest to a pointer, at most so many pixels away; -1 for none.
  nearest(list, event, most = 24) {
    const { px, py } = this.at(event);
    let [best, found] = [most ** 2, -1];
    list.forEach((p, i) => {
      if (p.x === null || p.y === null) return;
      const away = (this.X(p.x) - px) ** 2 + (this.Y(p.y) - py) ** 2;
      if (away < best) [best, found] = [away, i];
    });
    return found;
  }
}

function legend(host, entries) {
  const list = html("ul", { class: "legend" });
  for (const { words, colour, shape, dash } of entries) {
    const drawn = svg("svg", { viewBox: "0 0 18 14", "aria-hidden": "true" });
    if (shape) drawn.append(marker(shape, 9, 7, 5, { fill: colour }));
    else drawn.append(svg("line", { x1: 0, x2: 18, y1: 7, y2: 7, stroke: colour ?? "currentColor", "stroke-width": 3, "stroke-dasharray": dash ?? "" }));
    list.append(html("li", {}, drawn, words));
  }
  host.append(list);
}

function choice(host, words, options, chosen, changed) {
  const select = html("select", {}, ...options.map((o, i) => html("option", { value: i, selected: i === chosen }, o)));
  select.addEventListener("change", () => changed(Number(select.value)));
  host.append(html("label", {}, words, select));
  return select;
}

function slider(host, words, { low, high, step, value, said = (v) => digits(v, 3) }, changed) {
  const shown = html("output", {}, said(value));
  const input = html("input", { type: "range", min: low, max: high, step, value, "aria-valuetext": said(value) });
  const set = (v) => {
    input.value = v;
    shown.textContent = said(v);
    input.setAttribute("aria-valuetext", said(v));
  };
  input.addEventListener("input", () => {
    set(Number(input.value));
    changed(Number(input.value));
  });
  host.append(html("label", {}, words, input, shown));
  return { input, set };
}
