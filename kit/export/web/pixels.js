"use strict";
// An image's pixels as the model takes them: what kit/data/decoding.py does by Pillow, in the same whole numbers.
// Images are {data, width, height} with 4 bytes a pixel, of which the fourth is not looked at.
const pixels = (() => {
  const BITS = 22; // of a weight's fraction, as in Pillow's Resample.c
  const GAP = 3;
  const MOST = 16_700_000; // pixels of a canvas that telephones allow

  // Box means of `fx` x `fy` pixels within a box of whole numbers; Pillow's Reduce.c.
  function reduce({ data, width }, fx, fy, [left, top, right, bottom]) {
    const across = Math.ceil((right - left) / fx), down = Math.ceil((bottom - top) / fy);
    const out = new Uint8ClampedArray(across * down * 4);
    for (let y = 0; y < down; y++) {
      const y0 = top + y * fy, y1 = Math.min(y0 + fy, bottom);
      for (let x = 0; x < across; x++) {
        const x0 = left + x * fx, x1 = Math.min(x0 + fx, right);
        const count = (x1 - x0) * (y1 - y0);
        const by = Math.floor(Math.fround(2 ** 24 / count));
        let red = count >> 1, green = red, blue = red;
        for (let v = y0; v < y1; v++) {
          for (let at = (v * width + x0) * 4, end = (v * width + x1) * 4; at < end; at += 4) {
            red += data[at]; green += data[at + 1]; blue += data[at + 2];
          }
        }
        const to = (y * across + x) * 4;
        out[to] = Math.floor((red * by) / 2 ** 24);
        out[to + 1] = Math.floor((green * by) / 2 ** 24);
        out[to + 2] = Math.floor((blue * by) / 2 ** 24);
      }
    }
    return { data: out, width: across, height: down };
  }

  // For each of `size` places: the first pixel of `length` that counts, and the weights from there on.
  function weights(length, from, to, size) {
    const scale = Math.fround(to - from) / size, wide = Math.max(scale, 1);
    return Array.from({ length: size }, (_, place) => {
      const centre = from + (place + 0.5) * scale;
      const first = Math.max(0, Math.trunc(centre - wide + 0.5));
      const end = Math.min(length, Math.trunc(centre + wide + 0.5));
      const found = [];
      for (let x = first; x < end; x++) found.push(Math.max(0, 1 - Math.abs((x - centre + 0.5) / wide)));
      const sum = found.reduce((a, b) => a + b, 0);
      return [first, found.map((one) => Math.trunc(0.5 + (one / sum) * 2 ** BITS))];
    });
  }

  // One pass along rows (`step` 4) or columns: `lines` lines, `next` bytes apart.
  function pass(data, out, table, lines, next, step, outNext, outStep) {
    for (let line = 0; line < lines; line++) {
      table.forEach(([first, share], place) => {
        let red = 2 ** (BITS - 1), green = red, blue = red;
        for (let k = 0, at = line * next + first * step; k < share.length; k++, at += step) {
          red += data[at] * share[k]; green += data[at + 1] * share[k]; blue += data[at + 2] * share[k];
        }
        const to = line * outNext + place * outStep;
        out[to] = red >> BITS; out[to + 1] = green >> BITS; out[to + 2] = blue >> BITS;
      });
    }
    return out;
  }

  // Antialiased bilinear resampling of a box; Pillow's Image.resize with reducing_gap=3.
  function resize(image, [across, down], box) {
    const whole = box[0] === 0 && box[1] === 0 && box[2] === image.width && box[3] === image.height;
    if (whole && across === image.width && down === image.height) return image;
    const scale = [(box[2] - box[0]) / across, (box[3] - box[1]) / down];
    const [fx, fy] = scale.map((one) => Math.trunc(one / GAP) || 1);
    if (fx > 1 || fy > 1) {
      const [wide, high] = scale.map((one) => one / 2);
      const safe = [
        Math.max(0, Math.trunc(box[0] - wide)), Math.max(0, Math.trunc(box[1] - high)),
        Math.min(image.width, Math.ceil(box[2] + wide)), Math.min(image.height, Math.ceil(box[3] + high)),
      ];
      image = reduce(image, fx, fy, safe);
      box = [(box[0] - safe[0]) / fx, (box[1] - safe[1]) / fy, (box[2] - safe[0]) / fx, (box[3] - safe[1]) / fy];
    }
    let { data, width, height } = image;
    const [left, top, right, bottom] = box.map(Math.fround);
    if (across !== width || left !== 0 || right !== width) {
      const table = weights(width, left, right, across);
      data = pass(data, new Uint8ClampedArray(across * height * 4), table, height, width * 4, 4, across * 4, 4);
      width = across;
    }
    if (down !== height || top !== 0 || bottom !== height) {
      const table = weights(height, top, bottom, down);
      data = pass(data, new Uint8ClampedArray(across * down * 4), table, across, 4, width * 4, 4, across * 4);
      height = down;
    }
    return { data, width, height };
  }

  // uint8 (side, side, 3), as fit_square makes it.
  function fitSquare(image, rules) {
    const { width, height } = image, side = rules.side;
    let square;
    if (rules.resize === "pad") {
      const scale = side / Math.max(width, height);
      const [across, down] = [width, height].map((one) => Math.max(1, roundToEven(one * scale)));
      const inner = resize(image, [across, down], [0, 0, width, height]);
      const data = new Uint8ClampedArray(side * side * 4);
      for (let at = 0; at < data.length; at += 4) data.set(rules.background, at);
      const left = Math.floor((side - across) / 2), top = Math.floor((side - down) / 2);
      for (let y = 0; y < down; y++) {
        data.set(inner.data.subarray(y * across * 4, (y + 1) * across * 4), ((top + y) * side + left) * 4);
      }
      square = { data };
    } else {
      const shorter = Math.min(width, height);
      const [across, down] = rules.resize === "crop" ? [shorter, shorter] : [width, height];
      const box = [(width - across) / 2, (height - down) / 2, (width + across) / 2, (height + down) / 2];
      square = resize(image, [side, side], box);
    }
    const out = new Uint8Array(side * side * 3);
    for (let from = 0, to = 0; to < out.length; from += 4, to += 3) {
      out[to] = square.data[from]; out[to + 1] = square.data[from + 1]; out[to + 2] = square.data[from + 2];
    }
    return out;
  }

  function roundToEven(value) {
    const down = Math.floor(value), rest = value - down;
    return rest > 0.5 || (rest === 0.5 && down % 2) ? down + 1 : down;
  }

  // Upright sRGB pixels of a file on the background; a JPEG is made smaller by 2, 4 or 8 where Pillow would decode it so.
  async function decode(file, rules) {
    const head = new Uint8Array(await file.slice(0, 32).arrayBuffer());
    const grey16 = head[0] === 0x89 && head[24] === 16 && (head[25] & 2) === 0;
    if (grey16 && rules.greyRange.length) throw new Error("grey of 16 bits has a range of its own in this model, which a browser cannot read");
    const colours = rules.profiles ? "default" : "none";
    const bitmap = await createImageBitmap(file, { imageOrientation: "from-image", colorSpaceConversion: colours, premultiplyAlpha: "none" });
    const shrunk = Math.max(1, Math.sqrt((bitmap.width * bitmap.height) / MOST));
    const width = Math.floor(bitmap.width / shrunk), height = Math.floor(bitmap.height / shrunk);
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    const context = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
    context.fillStyle = `rgb(${rules.background.join(" ")})`;
    context.fillRect(0, 0, width, height);
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, 0, 0, width, height);
    bitmap.close();
    const image = { data: context.getImageData(0, 0, width, height).data, width, height };
    const times = Math.min(Math.floor(width / (2 * rules.side)), Math.floor(height / (2 * rules.side)));
    const jpeg = head[0] === 0xff && head[1] === 0xd8;
    const by = jpeg ? [8, 4, 2].find((one) => times >= one) : undefined;
    return by ? reduce(image, by, by, [0, 0, width, height]) : image;
  }

  return { decode, fitSquare };
})();
