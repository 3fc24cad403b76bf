// Torch's operations on tensors of float32, as far as decoders use them: a tensor is {shape, data}, row by row.

const size = (shape) => shape.reduce((a, b) => a * b, 1);
const tensor = (shape, data) => ({ shape, data: data ?? new Float32Array(size(shape)) });
const isTensor = (value) => value !== null && typeof value === "object" && "data" in value;
const asTensor = (value) => (isTensor(value) ? value : tensor([], new Float32Array([Number(value)])));
const axis = (dim, rank) => (dim < 0 ? dim + rank : dim);

function strides(shape) {
  const found = new Array(shape.length);
  for (let i = shape.length - 1, step = 1; i >= 0; step *= shape[i], i--) found[i] = step;
  return found;
}

// The elements of a tensor at every index of a shape, by an offset and a stride for each dimension.
function gathered(data, shape, steps, offset = 0) {
  const out = new Float32Array(size(shape));
  const index = new Array(shape.length).fill(0);
  for (let n = 0, at = offset; n < out.length; n++) {
    out[n] = data[at];
    for (let d = shape.length - 1; d >= 0; d--) {
      at += steps[d];
      if (++index[d] < shape[d]) break;
      at -= steps[d] * shape[d];
      index[d] = 0;
    }
  }
  return tensor(shape, out);
}

function expanded(a, shape) {
  const rank = shape.length;
  const own = [...new Array(rank - a.shape.length).fill(1), ...a.shape];
  const wanted = shape.map((n, d) => (n === -1 ? own[d] : n));
  const steps = strides(own).map((step, d) => (own[d] === 1 ? 0 : step));
  return gathered(a.data, wanted, steps);
}

function broadcast(...shapes) {
  const rank = Math.max(...shapes.map((s) => s.length));
  const whole = shapes.map((s) => [...new Array(rank - s.length).fill(1), ...s]);
  return whole[0].map((_, d) => Math.max(...whole.map((s) => s[d])));
}

const each = (f) => (a, ...rest) => tensor(a.shape, asTensor(a).data.map((v) => f(v, ...rest)));

const pairs = (f) => (a, b, kwargs = {}) => {
  [a, b] = [asTensor(a), asTensor(b)];
  const shape = broadcast(a.shape, b.shape);
  const [left, right] = [expanded(a, shape).data, expanded(b, shape).data];
  return tensor(shape, left.map((v, i) => f(v, right[i], kwargs.alpha ?? 1)));
};

// One value for each line along a dimension, or a line for each.
function along(a, dim, f) {
  const d = axis(dim, a.shape.length);
  const [length, inner] = [a.shape[d], size(a.shape.slice(d + 1))];
  const outer = size(a.shape.slice(0, d));
  const found = [];
  for (let o = 0; o < outer; o++) {
    for (let i = 0; i < inner; i++) {
      const line = Float64Array.from({ length }, (_, k) => a.data[(o * length + k) * inner + i]);
      found.push({ value: f(line), o, i });
    }
  }
  return { found, d, length, inner };
}

const whole = (f) => (a, dim) => {
  const { found, length, inner } = along(a, dim, f);
  const out = tensor(a.shape);
  for (const { value, o, i } of found) value.forEach((v, k) => (out.data[(o * length + k) * inner + i] = v));
  return out;
};

function reduced(a, dims, keep, f) {
  const listed = dims === null || dims === undefined || (Array.isArray(dims) && !dims.length)
    ? a.shape.map((_, d) => d)
    : [dims].flat().map((d) => axis(d, a.shape.length));
  for (const dim of listed.toSorted((p, q) => q - p)) {
    const { found } = along(a, dim, f);
    const shape = a.shape.map((n, d) => (d === dim ? 1 : n));
    a = tensor(shape, Float32Array.from(found, (one) => one.value));
  }
  return keep ? a : tensor(a.shape.filter((_, d) => !listed.includes(d)), a.data);
}

const total = (line) => line.reduce((a, b) => a + b, 0);
const largest = (line) => line.reduce((a, b) => Math.max(a, b), -Infinity);
const logSumExp = (line) => {
  const top = largest(line);
  return Number.isFinite(top) ? top + Math.log(total(line.map((v) => Math.exp(v - top)))) : top;
};

function slice(a, dim = 0, start = 0, end = Infinity, step = 1) {
  const d = axis(dim, a.shape.length);
  const clip = (v) => Math.min(Math.max(v < 0 ? v + a.shape[d] : v, 0), a.shape[d]);
  const [from, to] = [clip(start ?? 0), clip(end ?? Infinity)];
  const own = strides(a.shape);
  const shape = a.shape.map((n, k) => (k === d ? Math.max(0, Math.ceil((to - from) / step)) : n));
  return gathered(a.data, shape, own.map((s, k) => (k === d ? s * step : s)), from * own[d]);
}

// Of one dimension the places that a tensor of whole numbers lists.
function indexed(a, indices) {
  const dim = indices.findIndex((index) => index !== null);
  const at = indices[dim];
  if (indices.some((index, d) => index !== null && d !== dim) || at.shape.length !== 1) {
    throw new Error("an index of several dimensions is not known");
  }
  return joined(Array.from(at.data, (k) => slice(a, dim, k < 0 ? k + a.shape[dim] : k, (k < 0 ? k + a.shape[dim] : k) + 1)), dim);
}

const reshaped = (a, shape) => {
  const known = shape.filter((n) => n !== -1);
  return tensor(shape.map((n) => (n === -1 ? a.data.length / size(known) : n)), a.data);
};

const permuted = (a, order) => {
  const own = strides(a.shape);
  const dims = order.map((d) => axis(d, a.shape.length));
  return gathered(a.data, dims.map((d) => a.shape[d]), dims.map((d) => own[d]));
};

const unsqueezed = (a, dim) => tensor(a.shape.toSpliced(axis(dim, a.shape.length + 1), 0, 1), a.data);

const swapped = (a, p, q) => {
  const order = a.shape.map((_, d) => d);
  const [i, j] = [axis(p, order.length), axis(q, order.length)];
  [order[i], order[j]] = [order[j], order[i]];
  return permuted(a, order);
};

function unbound(a, dim = 0) {
  const d = axis(dim, a.shape.length);
  return Array.from({ length: a.shape[d] }, (_, k) => {
    const one = slice(a, d, k, k + 1);
    return tensor(one.shape.toSpliced(d, 1), one.data);
  });
}

function split(a, sizes, dim = 0) {
  const d = axis(dim, a.shape.length);
  const parts = Array.isArray(sizes)
    ? sizes
    : Array.from({ length: Math.ceil(a.shape[d] / sizes) }, (_, k) => Math.min(sizes, a.shape[d] - k * sizes));
  let start = 0;
  return parts.map((n) => slice(a, d, start, (start += n)));
}

function joined(parts, dim = 0) {
  const d = axis(dim, parts[0].shape.length);
  const shape = parts[0].shape.map((n, k) => (k === d ? parts.reduce((sum, p) => sum + p.shape[d], 0) : n));
  const out = tensor(shape);
  const outer = size(shape.slice(0, d));
  let at = 0;
  for (let o = 0; o < outer; o++) {
    for (const part of parts) {
      const length = part.data.length / outer;
      out.data.set(part.data.subarray(o * length, (o + 1) * length), at);
      at += length;
    }
  }
  return out;
}

function product(a, b) {
  const [rows, inner, columns] = [a.shape[0], a.shape[1], b.shape[1]];
  const out = tensor([rows, columns]);
  for (let r = 0; r < rows; r++) {
    const sums = new Float64Array(columns);
    for (let k = 0; k < inner; k++) {
      const v = a.data[r * inner + k];
      if (v !== 0) for (let c = 0; c < columns; c++) sums[c] += v * b.data[k * columns + c];
    }
    out.data.set(sums, r * columns);
  }
  return out;
}

// Convolutions of one and two dimensions and their transposes, of one group.
function convolution(x, weight, bias, stride, padding, dilation, transposed, outputPadding, groups) {
  if (groups !== 1) throw new Error("convolutions of several groups are not known");
  if (x.shape.length === 3) {
    const wide = (t) => tensor([...t.shape.slice(0, 2), 1, t.shape[2]], t.data);
    const two = (pair, first) => [first, pair[0]];
    const made = convolution(wide(x), wide(weight), bias, two(stride, 1), two(padding, 0), two(dilation, 1),
      transposed, two(outputPadding, 0), groups);
    return tensor([made.shape[0], made.shape[1], made.shape[3]], made.data);
  }
  const [n, channels, height, width] = x.shape;
  const [kh, kw] = weight.shape.slice(2);
  const made = transposed ? weight.shape[1] : weight.shape[0];
  const length = (input, k, d) => transposed
    ? (input - 1) * stride[d] - 2 * padding[d] + dilation[d] * (k - 1) + outputPadding[d] + 1
    : Math.floor((input + 2 * padding[d] - dilation[d] * (k - 1) - 1) / stride[d]) + 1;
  const [oh, ow] = [length(height, kh, 0), length(width, kw, 1)];
  const out = tensor([n, made, oh, ow]);
  if (bias) for (let i = 0; i < out.data.length; i++) out.data[i] = bias.data[Math.floor(i / (oh * ow)) % made];
  const [small, large] = transposed ? [[height, width], [oh, ow]] : [[oh, ow], [height, width]];
  for (let b = 0; b < n; b++) for (let c = 0; c < channels; c++) for (let m = 0; m < made; m++) {
    const kernel = (transposed ? c * made + m : m * channels + c) * kh * kw;
    const [from, to] = [(b * channels + c) * height * width, (b * made + m) * oh * ow];
    for (let i = 0; i < small[0]; i++) for (let p = 0; p < kh; p++) {
      const y = i * stride[0] - padding[0] + p * dilation[0];
      if (y < 0 || y >= large[0]) continue;
      for (let j = 0; j < small[1]; j++) for (let q = 0; q < kw; q++) {
        const z = j * stride[1] - padding[1] + q * dilation[1];
        if (z < 0 || z >= large[1]) continue;
        const [here, there] = [i * small[1] + j, y * large[1] + z];
        const w = weight.data[kernel + p * kw + q];
        if (transposed) out.data[to + there] += x.data[from + here] * w;
        else out.data[to + here] += x.data[from + there] * w;
      }
    }
  }
  return out;
}

const sigmoid = (v) => (v >= 0 ? 1 / (1 + Math.exp(-v)) : Math.exp(v) / (1 + Math.exp(v)));
const logSigmoid = (v) => Math.min(v, 0) - Math.log1p(Math.exp(-Math.abs(v)));

// erf by a rational approximation, to 1.2e-7.
function erf(v) {
  const t = 1 / (1 + 0.5 * Math.abs(v));
  const powers = [1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587, -0.82215223,
    0.17087277];
  const sum = powers.reduceRight((a, c) => a * t + c, 0);
  const tail = t * Math.exp(-v * v - 1.26551223 + t * sum);
  return v >= 0 ? 1 - tail : tail - 1;
}

const gelu = (a, { approximate = "none" } = {}) => each((v) => approximate === "tanh"
  ? 0.5 * v * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (v + 0.044715 * v ** 3)))
  : 0.5 * v * (1 + erf(v / Math.SQRT2)))(a);

const clamped = (a, low, high) => each((v) => Math.min(Math.max(v, low ?? -Infinity), high ?? Infinity))(a);
const same = (a) => a;

const OPERATIONS = {
  "getitem": (list, index) => list[index],
  "aten._to_copy": same,
  "aten.contiguous": same,
  "aten.view": reshaped,
  "aten._unsafe_view": reshaped,
  "aten.reshape": reshaped,
  "aten.t": (a) => (a.shape.length < 2 ? a : swapped(a, 0, 1)),
  "aten.transpose": swapped,
  "aten.permute": permuted,
  "aten.expand": expanded,
  "aten.unsqueeze": unsqueezed,
  "aten.squeeze": (a, dim) => {
    const dims = [dim].flat().map((d) => axis(d, a.shape.length));
    return tensor(a.shape.filter((n, d) => n !== 1 || !dims.includes(d)), a.data);
  },
  "aten.select": (a, dim, index) => unbound(a, dim).at(index),
  "aten.slice": slice,
  "aten.index": indexed,
  "aten.unbind": unbound,
  "aten.split": split,
  "aten.split_with_sizes": split,
  "aten.cat": joined,
  "aten.stack": (parts, dim = 0) => {
    const d = axis(dim, parts[0].shape.length + 1);
    return joined(parts.map((p) => unsqueezed(p, d)), d);
  },
  "aten.mm": product,
  "aten.addmm": (bias, a, b) => pairs((p, q) => p + q)(product(a, b), bias),
  "aten.convolution": convolution,
  "aten.relu": each((v) => Math.max(v, 0)),
  "aten.elu": (a, alpha = 1, scale = 1, inner = 1) =>
    each((v) => scale * (v > 0 ? v : alpha * Math.expm1(v * inner)))(a),
  "aten.gelu": gelu,
  "aten.silu": each((v) => v * sigmoid(v)),
  "aten.softplus": (a, beta = 1, threshold = 20) =>
    each((v) => (v * beta > threshold ? v : (Math.max(v * beta, 0) + Math.log1p(Math.exp(-Math.abs(v * beta)))) / beta))(a),
  "aten.glu": (a, dim = -1) => {
    const [left, gate] = split(a, a.shape[axis(dim, a.shape.length)] / 2, dim);
    return pairs((v, g) => v * sigmoid(g))(left, gate);
  },
  "aten.tanh": each(Math.tanh),
  "aten.sigmoid": each(sigmoid),
  "aten.log_sigmoid_forward": (a) => [each(logSigmoid)(a), a],
  "aten.exp": each(Math.exp),
  "aten.expm1": each(Math.expm1),
  "aten.log": each(Math.log),
  "aten.log1p": each(Math.log1p),
  "aten.sqrt": each(Math.sqrt),
  "aten.rsqrt": each((v) => 1 / Math.sqrt(v)),
  "aten.abs": each(Math.abs),
  "aten.neg": each((v) => -v),
  "aten.sign": each(Math.sign),
  "aten.sin": each(Math.sin),
  "aten.cos": each(Math.cos),
  "aten.floor": each(Math.floor),
  "aten.reciprocal": each((v) => 1 / v),
  "aten.logical_not": each((v) => Number(!v)),
  "aten.pow": pairs((a, b) => a ** b),
  "aten.add": pairs((a, b, alpha) => a + alpha * b),
  "aten.sub": pairs((a, b, alpha) => a - alpha * b),
  "aten.rsub": pairs((a, b, alpha) => b - alpha * a),
  "aten.mul": pairs((a, b) => a * b),
  "aten.div": pairs((a, b) => a / b),
  "aten.maximum": pairs(Math.max),
  "aten.minimum": pairs(Math.min),
  "aten.lt": pairs((a, b) => Number(a < b)),
  "aten.le": pairs((a, b) => Number(a <= b)),
  "aten.gt": pairs((a, b) => Number(a > b)),
  "aten.ge": pairs((a, b) => Number(a >= b)),
  "aten.eq": pairs((a, b) => Number(a === b)),
  "aten.ne": pairs((a, b) => Number(a !== b)),
  "aten.clamp": clamped,
  "aten.clamp_min": (a, low) => clamped(a, low),
  "aten.clamp_max": (a, high) => clamped(a, null, high),
  "aten.where": (condition, a, b) => {
    [a, b] = [asTensor(a), asTensor(b)];
    const shape = broadcast(condition.shape, a.shape, b.shape);
    const [chosen, yes, no] = [condition, a, b].map((t) => expanded(t, shape).data);
    return tensor(shape, yes.map((v, i) => (chosen[i] ? v : no[i])));
  },
  "aten.scalar_tensor": asTensor,
  "aten.full": (shape, value) => tensor(shape, new Float32Array(size(shape)).fill(value)),
  "aten.full_like": (a, value) => each(() => value)(a),
  "aten.ones_like": each(() => 1),
  "aten.zeros_like": each(() => 0),
  "aten.arange": (end) => tensor([end], Float32Array.from({ length: end }, (_, k) => k)),
  "aten.sum": (a, dims, keep) => reduced(a, dims, keep, total),
  "aten.mean": (a, dims, keep) => reduced(a, dims, keep, (line) => total(line) / line.length),
  "aten.amax": (a, dims, keep) => reduced(a, dims, keep, largest),
  "aten.logsumexp": (a, dims, keep) => reduced(a, dims, keep, logSumExp),
  "aten.argmax": (a, dim, keep) => reduced(a, dim, keep, (line) => line.indexOf(largest(line))),
  "aten.cumsum": whole((line) => {
    let sum = 0;
    return line.map((v) => (sum += v));
  }),
  "aten._softmax": whole((line) => {
    const log = logSumExp(line);
    return line.map((v) => Math.exp(v - log));
  }),
  "aten._log_softmax": whole((line) => {
    const log = logSumExp(line);
    return line.map((v) => v - log);
  }),
};

const float32 = (text) => {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new Float32Array(bytes.buffer);
};

// A function of arrays of numbers, one for each input, of the nodes that `decoder.py` wrote.
function runnable({ nodes }) {
  const constants = nodes.map((n) => (n.op === "constant" ? tensor(n.shape, float32(n.value)) : null));
  return (...inputs) => {
    const values = [];
    const given = (arg) => {
      if (Array.isArray(arg)) return arg.map(given);
      if (arg === null || typeof arg !== "object") return arg;
      return "node" in arg ? values[arg.node] : Number(arg.number.replace("inf", "Infinity"));
    };
    let next = 0;
    for (const [i, { op, args = [], kwargs }] of nodes.entries()) {
      if (op === "input") values.push(tensor([1, inputs[next].length], Float32Array.from(inputs[next++])));
      else if (op === "constant") values.push(constants[i]);
      else if (op === "output") return given(args[0]).data;
      else values.push(OPERATIONS[op](...args.map(given), ...(kwargs ? [Object.fromEntries(Object.entries(kwargs).map(([k, v]) => [k, given(v)]))] : [])));
    }
    throw new Error("a graph expects an output");
  };
}
