"use strict";
// The model, by TensorFlow.js on its WASM backend: one thread, and no file but this page.
const model = (() => {
  let graph, rules;

  async function unpack(id) {
    const packed = Uint8Array.from(atob(document.getElementById(id).textContent), (letter) => letter.charCodeAt(0));
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Response(stream).arrayBuffer();
  }

  // Float32 of all constants: those of 24 bits are whole numbers of a step, which each channel has before them.
  function widened(specs, packed) {
    const sizes = specs.map(({ shape }) => shape.reduce((a, b) => a * b, 1));
    const out = new ArrayBuffer(4 * sizes.reduce((a, b) => a + b, 0));
    let from = 0, to = 0;
    specs.forEach(({ shape, bits }, place) => {
      const size = sizes[place];
      if (bits === 24) {
        const channels = shape.at(-1), steps = new Float32Array(packed, from, channels);
        const low = new Uint8Array(packed, from + 4 * channels, 3 * size), values = new Float32Array(out, to, size);
        for (let k = 0, at = 0; k < size; k++, at += 3) {
          values[k] = (low[at] | (low[at + 1] << 8) | ((low[at + 2] << 24) >> 8)) * steps[k % channels];
        }
        from += 4 * channels + 4 * Math.ceil((3 * size) / 4);
      } else {
        new Uint8Array(out, to, 4 * size).set(new Uint8Array(packed, from, 4 * size));
        from += 4 * size;
      }
      to += 4 * size;
    });
    return out;
  }

  async function load(given) {
    rules = given;
    tf.enableProdMode();
    const wasm = await unpack("wasm");
    tf.env().platform.fetch = async () => new Response(wasm);
    tf.env().set("WASM_HAS_MULTITHREAD_SUPPORT", false);
    const name = "tfjs-backend-wasm-simd.wasm"; // "fetched" from above
    tf.wasm.setWasmPaths({ [name]: name, "tfjs-backend-wasm.wasm": name, "tfjs-backend-wasm-threaded-simd.wasm": name }, true);
    if (!(await tf.env().getAsync("WASM_HAS_SIMD_SUPPORT")) || !(await tf.setBackend("wasm"))) throw new Error("it has no WebAssembly with SIMD");
    const { modelTopology, weightSpecs } = JSON.parse(new TextDecoder().decode(await unpack("graph")));
    const weightData = widened(weightSpecs, await unpack("weights"));
    graph = await tf.loadGraphModel(tf.io.fromMemory({ modelTopology, weightSpecs, weightData }));
    run(new Uint8Array(rules.side ** 2 * 3)); // the first pass prepares the others
  }

  // Outputs for `count` images, uint8 (count, side, side, 3): Float32Array each.
  function outputs(pixels, count, names) {
    return tf.tidy(() => {
      const given = tf.tensor4d(Float32Array.from(pixels), [count, rules.side, rules.side, 3]);
      return [graph.execute({ pixels: given }, names)].flat().map((one) => one.dataSync().slice());
    });
  }

  const probabilities = (pixels, count) => outputs(pixels, count, rules.outputs.slice(0, 1))[0];
  function run(pixels) {
    const [shares, evidence, strangeness] = outputs(pixels, 1, rules.outputs);
    return { probabilities: shares, evidence, strangeness: strangeness?.[0] };
  }
  // All but the evidence: for each image its probabilities, then its strangeness where the model has one.
  function answers(pixels, count) {
    const found = outputs(pixels, count, rules.outputs.filter((_, place) => place !== 1));
    const rowOf = (image) => found.flatMap((one) => [...one.subarray((image * one.length) / count, ((image + 1) * one.length) / count)]);
    return Array.from({ length: count }, (_, image) => rowOf(image)).flat();
  }

  return { load, run, probabilities, answers };
})();
