// Data as they are seen: pictures on canvases, rows as tables or as a line.

const MOST_NAMED = 24;
const sprites = new Map();

function sprite(source) {
  if (!sprites.has(source.png)) {
    const image = new Image();
    image.src = source.png;
    sprites.set(source.png, image.decode().then(() => image));
  }
  return sprites.get(source.png);
}

function canvas(looks, label, width = 96) {
  const [, h, w] = looks.shape;
  const drawn = html("canvas", { class: "picture", width: w, height: h, role: "img", "aria-label": label });
  if (width) drawn.style.width = `${width}px`;
  return drawn;
}

function drawTile(drawn, looks, source, index) {
  const [, h, w] = looks.shape;
  drawn.dataset.wanted = index;
  sprite(source).then((image) => {
    if (drawn.dataset.wanted !== String(index)) return; // another was asked for since
    const pen = drawn.getContext("2d");
    pen.clearRect(0, 0, w, h);
    pen.drawImage(image, (index % source.across) * w, Math.floor(index / source.across) * h, w, h, 0, 0, w, h);
    drawn.dataset.drawn = index;
  });
}

// Values (channels, height, width) in raw units, onto a canvas.
function drawValues(drawn, looks, values) {
  const [channels, h, w] = looks.shape;
  const pixels = new ImageData(w, h);
  for (let i = 0; i < h * w; i++) {
    for (let c = 0; c < 3; c++) {
      const v = values[(c % channels) * h * w + i];
      pixels.data[4 * i + c] = Math.round((255 * (v - looks.low)) / (looks.high - looks.low));
    }
    pixels.data[4 * i + 3] = 255;
  }
  drawn.getContext("2d").putImageData(pixels, 0, 0);
}

function told(looks, j, v) {
  if (v === null || Number.isNaN(v)) return "missing";
  const column = looks.columns[j] ?? {};
  if (column.categories) return column.categories[Math.min(Math.max(Math.round(v), 0), column.categories.length - 1)];
  if (column.origin) {
    const days = Date.parse(column.origin) + v * 864e5;
    return Number.isFinite(days) ? new Date(days).toISOString().slice(0, 10) : digits(v);
  }
  return digits(v);
}

// Several rows of values {words, values, dash} as a table of the elements, or as lines over them.
function rows(looks, listed, label) {
  if (looks.names.length <= MOST_NAMED) {
    const head = html("tr", {}, html("th", { scope: "col" }, ""), ...listed.map((one) => html("th", { scope: "col" }, one.words)));
    const body = looks.names.map((name, j) =>
      html("tr", {}, html("th", { scope: "row" }, name), ...listed.map((one) => html("td", {}, told(looks, j, one.values[j])))));
    return html("table", {}, html("caption", {}, label), html("thead", {}, head), html("tbody", {}, ...body));
  }
  const host = html("div");
  const plot = new Plot(host, {
    label,
    x: { label: "element of x", range: [0, looks.names.length - 1] },
    y: { label: "value", range: bounds(listed.flatMap((one) => [...one.values])) },
    height: 220,
  });
  const places = looks.names.map((_, j) => j);
  listed.forEach((one, i) => plot.line(places, [...one.values], { stroke: COLOURS[i], "stroke-width": 1.5, "stroke-dasharray": one.dash ?? "" }));
  legend(host, listed.map((one, i) => ({ words: one.words, colour: COLOURS[i], dash: one.dash })));
  return host;
}

// A datum and its reconstruction.
function pair(run, i) {
  const { looks, data } = run;
  const at = data.shown.indexOf(i);
  if (at < 0) return html("p", { class: "note" }, `The values of obs ${data.obs[i]} are not in this page, for its size.`);
  if (looks.kind !== "picture") {
    const listed = [{ words: "x", values: data.x.rows[at] }, { words: "reconstruction", values: data.x_hat.rows[at], dash: "5 3" }];
    return rows(looks, listed, `Datum ${data.obs[i]}`);
  }
  const shown = html("div", { class: "row" });
  for (const [words, source] of [["x", data.x], ["reconstruction", data.x_hat]]) {
    const drawn = canvas(looks, `${words} of datum ${data.obs[i]}`);
    drawTile(drawn, looks, source, at);
    shown.append(html("figure", {}, drawn, html("figcaption", {}, words)));
  }
  return shown;
}

const labelOf = (run, i) => {
  const { labels } = run;
  if (!labels) return "";
  return labels.names ? labels.names[labels.codes[i]] : digits(labels.values[i]);
};

// The colour and shape of each datum, by its label.
function looksOf(run) {
  const { labels } = run;
  if (!labels) return () => ({ colour: COLOURS[0], shape: "circle" });
  if (labels.names) return (i) => look(labels.codes[i]);
  const [low, high] = bounds(labels.values, 0);
  return (i) => ({
    colour: VIRIDIS[Math.min(5, Math.floor((6 * (labels.values[i] - low)) / (high - low)))] ?? COLOURS[0],
    shape: "circle",
  });
}

function legendOf(host, run) {
  const { labels } = run;
  if (labels?.names) legend(host, labels.names.map((words, code) => ({ words, ...look(code) })));
  else if (labels) {
    const [low, high] = bounds(labels.values, 0);
    legend(host, VIRIDIS.map((colour, k) => ({ words: digits(low + ((k + 0.5) / 6) * (high - low), 3), colour, shape: "circle" })));
  }
}
