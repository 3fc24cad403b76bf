// The latent explorer: a point in a plane of the latent space, or a slider for each unit, and what it decodes to.

function explorer(host, run) {
  const { looks, explorer: given } = run;
  const decode = given.graph ? runnable(given.graph) : null;
  const units = given.names.length;
  const z = [...given.centre];
  let context = 0;
  let axes = planeOf(given, given.plane.axes);
  const controls = html("div", { class: "row" });
  const plane = html("div", { class: "plane" });
  const result = html("div", { class: "result" });
  const sliders = html("div", { class: "sliders", tabindex: 0, role: "group", "aria-label": `Latent units of ${run.name}, the most active first` });
  host.append(controls, html("div", { class: "row" }, plane, result), sliders);

  const big = looks.kind === "picture" ? canvas(looks, "decoded point of the latent space", 192) : null;
  if (big) {
    big.dataset.canvas = "explorer";
    result.append(html("figure", {}, big, html("figcaption", {}, "E[x | z]")));
  }
  const coordinate = (axis) => axis.direction.reduce((sum, d, j) => sum + d * (z[j] - axis.origin[j]), 0);
  const move = (axis, value) => {
    const step = value - coordinate(axis);
    axis.direction.forEach((d, j) => (z[j] += d * step));
  };

  let plot, knob, waiting;
  const show = () => {
    if (decode) {
      const values = decode(z, ...given.contexts.map((c) => flat(c[context])));
      if (big) drawValues(big, looks, values);
      else result.replaceChildren(rows(looks, [{ words: "E[x | z]", values: [...values] }], "Decoded point of the latent space"));
      return;
    }
    const { steps, shown } = given.plane;
    const at = given.plane.axes.map((j, k) => nearest(steps[k], z[j]));
    const index = at.length > 1 ? at[1] * steps[0].length + at[0] : at[0];
    if (big) drawTile(big, looks, shown, index);
    else result.replaceChildren(rows(looks, [{ words: "E[x | z]", values: shown.rows[index] }], "Decoded point of the latent space"));
  };
  const moved = () => {
    const [x, y] = [coordinate(axes[0]), axes[1] ? coordinate(axes[1]) : 0];
    knob.setAttribute("transform", `translate(${plot.X(x)} ${plot.Y(y)})`);
    entries.forEach((entry) => entry.update());
    if (waiting) return;
    waiting = requestAnimationFrame(() => {
      waiting = null;
      show();
    });
  };

  const drawPlane = () => {
    plane.replaceChildren();
    plot = planePlot(plane, run, axes);
    const ring = (name) => marker("circle", 0, 0, 9, { class: name });
    knob = svg("g", {}, ring("knob"), ring("chosen ink"), marker("cross", 0, 0, 5, { fill: COLOURS[5] }));
    plot.svg.append(knob);
    const drag = (event) => {
      const { x, y } = plot.at(event);
      move(axes[0], x);
      if (axes[1]) move(axes[1], y);
      moved();
    };
    plot.svg.addEventListener("pointerdown", (event) => {
      plot.svg.setPointerCapture(event.pointerId);
      drag(event);
    });
    plot.svg.addEventListener("pointermove", (event) => event.buttons && drag(event));
  };

  const entries = [];
  const addSlider = (j) => {
    const [low, high] = [given.low[j], given.high[j]];
    const made = slider(sliders, given.names[j], { low, high, step: (high - low) / 100, value: z[j] }, (v) => {
      z[j] = v;
      moved();
    });
    made.input.dataset.unit = given.names[j];
    entries.push({ update: () => document.activeElement !== made.input && made.set(z[j]) });
  };
  (decode ? given.order : given.plane.axes).forEach(addSlider);

  if (decode && units > 2) {
    chosenPlane(controls, given, (found) => {
      axes = found;
      drawPlane();
      moved();
    });
  }
  if (decode && given.named.length > 1) {
    choice(controls, "Condition", given.named, 0, (k) => {
      context = k;
      moved();
    });
  }
  const back = html("button", { type: "button" }, "Mean of the codes");
  back.addEventListener("click", () => {
    given.centre.forEach((v, j) => (z[j] = v));
    moved();
  });
  const codes = html("input", { type: "checkbox", checked: true });
  codes.addEventListener("change", () => plane.classList.toggle("bare", !codes.checked));
  controls.append(back, html("label", {}, codes, "Codes of the data"));

  drawPlane();
  moved();
  const conditioned = given.named.length && !decode ? ` The condition is ${given.named[0]}.` : "";
  const how = decode
    ? "Drag in the plane or move a slider; the decoder runs in this page. Units are sorted by activity: the variance of their mean under q over the data."
    : `Drag in the plane or move a slider; points were decoded before, all other units at the mean of the codes: ${given.why}.${conditioned}`;
  host.append(html("p", { class: "note" }, how));
}

// Controls that choose the two units of a plane, or the two principal directions of the codes.
function chosenPlane(controls, given, changed) {
  const options = [...given.order.map((j) => given.names[j]), "principal direction"];
  const last = options.length - 1;
  let ranks = [0, 1];
  const selects = ["Across", "Up"].map((words, k) => choice(controls, words, options, ranks[k], (rank) => {
    const before = ranks[1 - k];
    const other = before === last || before === rank ? Number(rank === 0) : before;
    ranks = rank === last ? [last, last] : k === 0 ? [rank, other] : [other, rank];
    selects.forEach((select, i) => (select.value = ranks[i]));
    changed(rank === last ? principal(given) : planeOf(given, ranks.map((r) => given.order[r])));
  }));
}

const flat = (values) => (Array.isArray(values) ? values.flat(Infinity) : [values]);
const nearest = (steps, v) => steps.reduce((best, s, k) => (Math.abs(s - v) < Math.abs(steps[best] - v) ? k : best), 0);

// Axes of a plane: unit vectors with an origin, a range and a name.
function planeOf(given, units) {
  return units.map((j) => {
    const direction = given.centre.map((_, k) => Number(k === j));
    return { name: given.names[j], direction, origin: given.centre.map(() => 0), range: [given.low[j], given.high[j]], unit: j };
  });
}

function principal(given) {
  return given.directions.map((direction, k) => {
    const reach = given.reach[k];
    return { name: `principal direction ${k + 1}`, direction, origin: given.centre, range: [-reach, reach] };
  });
}

function planePlot(host, run, axes) {
  const { explorer: given, latents, looks } = run;
  const [first, second] = axes;
  const plot = new Plot(host, {
    label: `Plane of the latent space of ${run.name}: ${axes.map((axis) => axis.name).join(" and ")}. The sliders move the same point.`,
    x: { label: first.name, range: first.range },
    y: { label: second?.name ?? "", range: second?.range ?? [-1, 1], hidden: !second },
    width: 460,
    height: second ? 420 : 130,
    drag: true,
  });
  plot.svg.dataset.chart = "plane";
  const ofPlane = axes.every((axis, k) => axis.unit === given.plane.axes[k]) && !given.named.length;
  if (looks.kind === "picture" && second && ofPlane) mosaic(plot, given.plane, looks);
  const kept = latents.names.map((name) => given.names.indexOf(name));
  const along = (axis, row) => kept.reduce((sum, j, k) => sum + axis.direction[j] * (row[k] - axis.origin[j]), 0);
  const of = looksOf(run);
  plot.points(latents.codes.map((row, i) => ({ x: along(first, row), y: second ? along(second, row) : 0, ...of(i) })), { r: 2.5, class: "codes" });
  return plot;
}

// The decoded plane behind the points, in tiles that a gap sets apart.
function mosaic(plot, { steps, shown }, looks) {
  const [, h, w] = looks.shape;
  const chosen = steps.map((s) => {
    const every = Math.ceil((s.length - 1) / 10);
    return s.map((_, k) => k).filter((k) => k % every === 0);
  });
  const [across, up] = chosen.map((some) => some.length);
  const gap = Math.max(1, Math.round(w / 7));
  const whole = html("canvas", { width: across * (w + gap), height: up * (h + gap) });
  const half = steps.map((s, d) => (s[chosen[d][1]] - s[0]) / 2);
  const last = steps.map((s, d) => s[chosen[d].at(-1)]);
  sprite(shown).then((image) => {
    const pen = whole.getContext("2d");
    pen.fillStyle = "#6f87a3";
    pen.fillRect(0, 0, whole.width, whole.height);
    chosen[1].forEach((up1, j) => chosen[0].forEach((across1, i) => {
      const k = up1 * steps[0].length + across1;
      const place = [i * (w + gap) + gap / 2, (up - 1 - j) * (h + gap) + gap / 2];
      pen.drawImage(image, (k % shown.across) * w, Math.floor(k / shown.across) * h, w, h, ...place, w, h);
    }));
    const [x1, x2] = [plot.X(steps[0][0] - half[0]), plot.X(last[0] + half[0])];
    const [y1, y2] = [plot.Y(last[1] + half[1]), plot.Y(steps[1][0] - half[1])];
    plot.area.prepend(svg("image", { href: whole.toDataURL(), x: x1, y: y1, width: x2 - x1, height: y2 - y1, preserveAspectRatio: "none" }));
  });
}
