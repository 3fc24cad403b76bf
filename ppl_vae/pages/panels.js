// What is drawn of each run, by the name of its section.

const hint = document.getElementById("hint");

function showHint(event, ...children) {
  hint.replaceChildren(...children);
  hint.hidden = false;
  const [w, h] = [hint.offsetWidth, hint.offsetHeight];
  hint.style.left = `${Math.max(4, Math.min(event.clientX + 14, innerWidth - w - 4))}px`;
  hint.style.top = `${event.clientY + 14 + h > innerHeight ? Math.max(4, event.clientY - h - 14) : event.clientY + 14}px`;
}

const hideHint = () => (hint.hidden = true);

const PANELS = {
  training(host, run) {
    const { epoch, terms } = run.history;
    if (!epoch.length) return host.append(html("p", {}, "There is no history: the model was not trained for an epoch."));
    const named = Object.keys(terms);
    if (!named.length) return host.append(html("p", {}, "The history holds no term of the objective."));
    const kinds = [...new Set(named.map((name) => name.replace(/^(train|validation)_/, "")))];
    const kls = kinds.filter((kind) => kind.startsWith("kl_"));
    const [left, right] = beside(host);
    curves(left, run, "ELBO and reconstruction", kinds.filter((kind) => !kls.includes(kind)));
    curves(right, run, "KL from q to the prior", kls);
    const rows = epoch.map((e, i) => html("tr", {}, html("th", { scope: "row" }, String(e)), ...named.map((name) => html("td", {}, digits(terms[name][i])))));
    const head = html("tr", {}, ...["epoch", ...named].map((name) => html("th", { scope: "col" }, name)));
    const table = html("table", {}, html("caption", {}, "nats per datum, in units of x"), html("thead", {}, head), html("tbody", {}, ...rows));
    const scroll = html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `History of ${run.name}` }, table);
    host.append(html("details", {}, html("summary", {}, "All epochs as a table"), scroll));
  },

  data(host, run) {
    const { data } = run;
    const has = (name) => data[name]?.some((v) => v !== null);
    const rank = (values) => {
      const order = values.map((_, i) => i).sort((a, b) => (values[a] ?? 1e300) - (values[b] ?? 1e300));
      const place = [];
      order.forEach((i, k) => (place[i] = k));
      return place;
    };
    const nats = "nats per datum";
    const [key, words] = has("pareto_k") ? ["pareto_k", "k-hat"] : has("kl_gap") ? ["kl_gap", "KL from q to p(z | x), nats"] : ["reconstruction", `log p(x | z), ${nats}`];
    const xs = key === "pareto_k" ? data.kl_gap : rank(data[key] ?? []);
    const values = data[key] ?? data.obs.map(() => null);
    const of = looksOf(run);
    const points = values.map((y, i) => ({ x: xs[i] ?? null, y, ...of(i) }));
    const xlabel = key === "pareto_k" ? "KL from q to p(z | x), nats" : "rank of the datum";
    const good = key === "pareto_k" && data.good_k !== null;
    const [left, right] = beside(host);
    const plot = new Plot(left, {
      label: `${words} of ${values.length} data of ${run.name}. The slider below goes through them.`,
      x: { label: xlabel, range: bounds(xs) },
      y: { label: words, range: bounds(good ? [...values, data.good_k] : values) },
    });
    plot.svg.dataset.chart = "data";
    if (good) plot.level(data.good_k, `above ${digits(data.good_k, 2)}: log p(x) is not believed`);
    plot.points(points);
    legendOf(left, run);
    const ring = marker("circle", -99, -99, 7, { class: "chosen" });
    plot.area.append(ring);
    const card = html("div", { "aria-live": "polite", class: "card" });
    const order = values.map((_, i) => i).sort((a, b) => (values[a] ?? 1e300) - (values[b] ?? 1e300));
    const choose = (i) => {
      const p = points[i];
      if (p.x !== null && p.y !== null) ring.setAttribute("d", marker("circle", plot.X(p.x), plot.Y(p.y), 7).getAttribute("d"));
      card.replaceChildren(html("p", {}, sentence(run, i)), pair(run, i));
      if (run.posteriors) posterior(card, run, i);
    };
    const through = slider(left, `Datum, from the lowest ${words.split(",")[0]} to the highest`, {
      low: 0, high: order.length - 1, step: 1, value: order.length - 1, said: (v) => `obs ${data.obs[order[v]]}`,
    }, (v) => choose(order[v]));
    through.input.dataset.control = "datum";
    plot.svg.addEventListener("pointermove", (event) => {
      const i = plot.nearest(points, event);
      if (i < 0) return hideHint();
      showHint(event, html("div", {}, sentence(run, i)), pair(run, i));
    });
    plot.svg.addEventListener("pointerleave", hideHint);
    plot.svg.addEventListener("click", (event) => {
      const i = plot.nearest(points, event);
      if (i < 0) return;
      through.set(order.indexOf(i));
      choose(i);
    });
    right.append(card);
    choose(order[order.length - 1]);
  },

  latents(host, run) {
    const { latents } = run;
    if (latents.names.length < 2) return host.append(html("p", {}, "The latent has one unit: see the explorer."));
    const controls = html("div", { class: "row" });
    const shown = html("div");
    host.append(controls, shown);
    const axes = latents.names.length === 2 && latents.names[0] > latents.names[1] ? [1, 0] : [0, 1];
    const of = looksOf(run);
    const draw = () => {
      shown.replaceChildren();
      const [a, b] = axes;
      const column = (rows, j) => rows.map((row) => row[j]);
      const all = (j) => bounds([...column(latents.codes, j), ...(latents.prior ? column(latents.prior, j) : [])]);
      const plot = new Plot(shown, {
        label: `One draw from q(z | x) for each of ${latents.codes.length} data, units ${latents.names[a]} and ${latents.names[b]}${run.labels ? ", coloured by label" : ""}`,
        x: { label: latents.names[a], range: all(a) },
        y: { label: latents.names[b], range: all(b) },
        height: 420,
      });
      if (latents.prior) plot.points(latents.prior.map((row) => ({ x: row[a], y: row[b], colour: "#8a929b", shape: "circle" })), { r: 1.6, class: "dim" });
      const points = latents.codes.map((row, i) => ({ x: row[a], y: row[b], ...of(i) }));
      plot.points(points, { r: 3 });
      plot.svg.addEventListener("pointermove", (event) => {
        const i = plot.nearest(points, event);
        if (i < 0) return hideHint();
        showHint(event, html("div", {}, sentence(run, i)), pair(run, i));
      });
      plot.svg.addEventListener("pointerleave", hideHint);
    };
    if (latents.names.length > 2) {
      ["across", "up"].forEach((words, k) => choice(controls, `Unit ${words}`, latents.names, axes[k], (j) => {
        axes[k] = j;
        draw();
      }));
    }
    draw();
    legendOf(host, run);
    const prior = latents.prior ? " Small grey points are draws of the prior." : " The prior is improper and has no draws.";
    host.append(html("p", { class: "note" }, `One draw from q(z | x) for each datum; units are listed by the variance of their mean under q over the data, the largest first.${prior}`));
  },

  samples(host, run) {
    const { samples, looks } = run;
    if (!samples) return host.append(html("p", {}, "The prior is improper: there is nothing to draw from it. An autoencoder has no p(x)."));
    const shown = html("div");
    const given = (i) => samples.given[i] ?? "";
    const draw = (k) => {
      const source = samples.shown[k];
      if (looks.kind === "picture") {
        const tiles = html("div", { class: "tiles" });
        for (let i = 0; i < samples.num; i++) {
          const drawn = canvas(looks, `sample ${i + 1} at temperature ${samples.temperatures[k]}${given(i) && `, given ${given(i)}`}`, null);
          drawTile(drawn, looks, source, i);
          tiles.append(given(i) ? html("figure", {}, drawn, html("figcaption", {}, given(i))) : drawn);
        }
        shown.replaceChildren(tiles);
      } else {
        const few = source.rows.slice(0, looks.names.length <= MOST_NAMED ? 6 : 5);
        const listed = few.map((values, i) => ({ words: `sample ${i + 1}${given(i) && `, given ${given(i)}`}`, values }));
        const label = `E[x | z], of categories the most probable, temperature ${samples.temperatures[k]}`;
        shown.replaceChildren(html("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Samples of ${run.name}` }, rows(looks, listed, label)));
      }
    };
    const one = samples.temperatures.indexOf(1);
    if (samples.temperatures.length > 1) {
      const control = slider(host, "Temperature", { low: 0, high: samples.temperatures.length - 1, step: 1, value: one, said: (v) => String(samples.temperatures[v]) }, draw);
      control.input.dataset.control = "temperature";
    }
    host.append(shown);
    draw(one);
    const conditions = samples.given.length ? ", each under the condition of one datum, which is written with it" : "";
    const why = samples.why ? ` Other temperatures are left out: ${samples.why}.` : " At temperature T a latent is moved to m + T (z - m), with m the mean of its distribution: 1 is p(z), 0 its mean. The draws stay the same.";
    host.append(html("p", { class: "note" }, `The mean of x given z, for z drawn from the prior${conditions}.${why}`));
  },

  reconstructions(host, run) {
    const { looks, data } = run;
    const few = data.shown.slice(0, looks.kind === "picture" ? 12 : 4);
    if (looks.kind === "picture") {
      const tiles = html("div", { class: "tiles" });
      for (const [at, i] of few.entries()) {
        const both = [["x", data.x], ["reconstruction", data.x_hat]].map(([words, source]) => {
          const label = labelOf(run, i);
          const drawn = canvas(looks, `${words} of datum ${data.obs[i]}${label ? `, label ${label}` : ""}`, null);
          drawTile(drawn, looks, source, at);
          return drawn;
        });
        tiles.append(html("div", {}, ...both));
      }
      host.append(tiles, html("p", { class: "note" }, "Each datum above its reconstruction E[x | z], for one draw z from q(z | x)." + (data.gaps ? " Hatched pixels are missing." : "")));
      return;
    }
    const pairs = html("div", { class: "row scroll", tabindex: 0, role: "region", "aria-label": `Reconstructions of ${run.name}` });
    pairs.append(...few.map((i) => pair(run, i)));
    host.append(pairs, html("p", { class: "note" }, "Each datum beside what stands for p(x | z), for one draw z from q(z | x): means, of categories the most probable."));
  },

  explorer: (host, run) => explorer(host, run),
};

// Two places side by side, or below each other where there is no room.
function beside(host) {
  const places = [html("div"), html("div")];
  host.append(html("div", { class: "beside" }, ...places));
  return places;
}

function sentence(run, i) {
  const { data } = run;
  const label = labelOf(run, i);
  const parts = [`obs ${data.obs[i]}${label ? `, label ${label}` : ""}`];
  if (data.kl_gap && data.kl_gap[i] !== null) parts.push(`KL from q to p(z | x) ${data.known[i] === false ? "at least " : ""}${digits(data.kl_gap[i], 3)} nats`);
  if (data.pareto_k && data.pareto_k[i] !== null) parts.push(`k\u2011hat ${digits(data.pareto_k[i], 2)}`);
  if (data.log_px) parts.push(`log p(x) ${digits(data.log_px[i])} nats`);
  else if (data.reconstruction) parts.push(`log p(x | z) ${digits(data.reconstruction[i])} nats`);
  return parts.join("; ");
}

function curves(host, run, title, kinds) {
  const { epoch, terms } = run.history;
  const listed = kinds.flatMap((kind, k) => ["train", "validation"]
    .filter((split) => terms[`${split}_${kind}`])
    .map((split) => ({ words: `${kind}, ${split}`, values: terms[`${split}_${kind}`], colour: COLOURS[k % COLOURS.length], dash: split === "train" ? "5 4" : "" })));
  if (!listed.length) return;
  const late = listed.flatMap(({ values }) => values.slice(Math.floor(values.length / 10)));
  const [low, high] = bounds(epoch, 0);
  const plot = new Plot(host, {
    label: `${title} by epoch; the values are in the table below`,
    x: { label: "epoch", range: high > low ? [low, high] : [low - 0.5, high + 0.5] },
    y: { label: `${title}, nats`, range: bounds(late) },
    height: 260,
  });
  for (const { values, colour, dash } of listed) {
    plot.line(epoch, values, { stroke: colour, "stroke-width": 2, "stroke-dasharray": dash });
    if (epoch.length === 1) plot.points([{ x: epoch[0], y: values[0], colour }]);
  }
  legend(host, listed);
  plot.svg.addEventListener("pointermove", (event) => {
    const { x } = plot.at(event);
    const i = epoch.reduce((best, e, k) => (Math.abs(e - x) < Math.abs(epoch[best] - x) ? k : best), 0);
    showHint(event, html("div", {}, `epoch ${epoch[i]}`), ...listed.map((one) => html("div", {}, `${one.words}: ${digits(one.values[i])}`)));
  });
  plot.svg.addEventListener("pointerleave", hideHint);
}

// Of each unit the interval of 90 % under q(z | x) of a datum, over that of the prior.
function posterior(host, run, i) {
  const { names, q, prior, left } = run.posteriors;
  const of = q[i];
  const all = [...of.flat(), ...(prior ?? []).flat()];
  const plot = new Plot(host, {
    label: `Intervals of 90 % of each latent unit under q(z | x) of obs ${run.data.obs[i]}, over those of the prior`,
    x: { label: "latent", range: bounds(all) },
    y: { label: "", range: [names.length - 0.5, -0.5], hidden: true },
    height: 64 + Math.max(2, names.length) * 16,
  });
  plot.svg.dataset.chart = "posterior";
  names.forEach((name, j) => {
    plot.axes.append(svg("text", { x: plot.edge.left - 6, y: plot.Y(j) + 4, "text-anchor": "end" }, name));
    const bar = ([low, , high], attributes) => plot.area.append(svg("line", { x1: plot.X(low), x2: plot.X(high), y1: plot.Y(j), y2: plot.Y(j), ...attributes }));
    if (prior) bar(prior[j], { stroke: "#8a929b", "stroke-width": 9, class: "dim" });
    bar(of[j], { stroke: COLOURS[0], "stroke-width": 4 });
    plot.area.append(marker("circle", plot.X(of[j][1]), plot.Y(j), 3.5, { fill: COLOURS[5] }));
  });
  legend(host, [
    { words: "q(z | x), 90 %", colour: COLOURS[0] },
    { words: "its median", colour: COLOURS[5], shape: "circle" },
    ...(prior ? [{ words: "prior, 90 %, marginal", colour: "#8a929b" }] : []),
  ]);
  if (left) host.append(html("p", { class: "note" }, `${left} further units are left out.`));
}

// Differences of log p(x) of each datum from the best run.
function comparison(host, found) {
  if (!found) return;
  for (const [name, values] of Object.entries(found.others)) {
    const order = values.map((_, i) => i).filter((i) => values[i] !== null).sort((a, b) => values[a] - values[b]);
    const better = order.filter((i) => values[i] > 0).length;
    const plot = new Plot(host, {
      label: `log p(x) of ${name} minus that of ${found.best}, for each datum in order`,
      x: { label: "data, in order of the difference", range: [-1, order.length] },
      y: { label: "difference, nats", range: bounds([...values, 0]) },
      height: 240,
    });
    plot.level(0, "equal");
    const points = order.map((i, k) => ({ x: k, y: values[i], colour: values[i] > 0 ? COLOURS[0] : COLOURS[5] }));
    plot.points(points, { r: 2.5 });
    plot.svg.addEventListener("pointermove", (event) => {
      const k = plot.nearest(points, event);
      if (k < 0) return hideHint();
      showHint(event, html("div", {}, `obs ${found.obs[order[k]]}: ${digits(values[order[k]], 3)} nats`));
    });
    plot.svg.addEventListener("pointerleave", hideHint);
    host.append(html("p", { class: "note" }, `log p(x) under ${name} minus that under ${found.best}: higher for ${better} of ${order.length} data.`));
  }
}
