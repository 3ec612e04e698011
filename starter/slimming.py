"""Initial weights of the student, by least squares from a wider network of the same architecture.

The residual stream of a MobileNetV2 passes no activation, so the student carries it in the first principal components
of each stage, as SliceGPT does for transformers [Ashkboos et al. 2024, arXiv:2401.15024]. Inside a block channels can
only be selected: the first of a pivoted QR factorisation of the teacher's activations. Block by block from the pixels
up, each 1x1 convolution is the least-squares map from the student's activations to the teacher's, which also corrects
errors of earlier blocks [ThiNet, Luo et al. 2017, arXiv:1707.06342].
"""

import keras
import numpy as np
import scipy.linalg

from kit.model.backbones import find_cuts
from kit.model.catalog import block_names

BLOCKS = 17  # of MobileNetV2: expanded_conv, then block_1 to block_16
PLACES = 16  # sampled places of each image's maps
BATCH = 32
RIDGE = 1e-3  # of the mean variance of the inputs of a fit


def slim(teacher: keras.Model, student: keras.Model, images: np.ndarray, seed: int = 0) -> None:
    """Set weights of `student` that imitate `teacher`, whose last map has as many channels.

    Both are MobileNetV2 without top for the same input, the student with a smaller alpha. `images`: some hundreds,
    preprocessed, float32 (n, size, size, 3). `seed` draws the sampled places of each map.
    """
    _Slimming(teacher, student, images, seed).run()


class _Slimming:
    def __init__(self, teacher: keras.Model, student: keras.Model, images: np.ndarray, seed: int):
        self.teacher, self.student, self.images = teacher, student, images
        self.draws = np.random.default_rng(seed).random((len(images), PLACES))
        cuts = find_cuts(teacher, block_names("mobilenet_v2"))
        self.outputs = [cuts[BLOCKS - block].layer for block in range(BLOCKS)]
        self.rows = self._teacher_rows()  # layer -> teacher's activations at the sampled places

    def run(self) -> None:
        axes = [self._axes(block) for block in range(BLOCKS)]
        carried = self._stem(axes[0])
        for block in range(1, BLOCKS):
            carried = self._block(block, axes[block], carried)
        self._fit("Conv_1", "Conv_1_bn", carried, self.rows["Conv_1_bn"])

    def _teacher_rows(self) -> dict[str, np.ndarray]:
        names = [*self.outputs, "expanded_conv_depthwise_relu", "Conv_1_bn"]
        for block in range(1, BLOCKS):
            names += [f"block_{block}_expand_BN", f"block_{block}_depthwise_relu"]
        part = keras.Model(self.teacher.input, {name: self.teacher.get_layer(name).output for name in names})
        sampled: dict[str, list[np.ndarray]] = {name: [] for name in names}
        for start in range(0, len(self.images), BATCH):
            batch = slice(start, start + BATCH)
            for name, output in part(self.images[batch], training=False).items():
                sampled[name].append(_at(keras.ops.convert_to_numpy(output), self.draws[batch]))
        return {name: np.concatenate(rows) for name, rows in sampled.items()}

    def _axes(self, block: int) -> np.ndarray:
        """Principal components of a block's stage, (teacher's channels, student's), largest variance first."""
        channels = self.rows[self.outputs[block]].shape[1]
        stage = np.concatenate([self.rows[name] for name in self.outputs if self.rows[name].shape[1] == channels])
        kept = self.student.get_layer(self.outputs[block]).output.shape[-1]
        return np.linalg.eigh(np.cov(stage, rowvar=False))[1][:, ::-1][:, :kept]

    def _stem(self, axes: np.ndarray) -> np.ndarray:
        """Fit the layers of the first block; returns its output, as `_block`: float32 (n, rows, columns, channels)."""
        chosen = self._chosen("expanded_conv", axes)
        seen = self._copy("Conv1", "bn_Conv1", chosen, self.images, "")
        active = self._copy("expanded_conv_depthwise", "expanded_conv_depthwise_BN", chosen, seen, "Conv1_relu")
        self._fit("expanded_conv_project", "expanded_conv_project_BN", active, self.rows[self.outputs[0]] @ axes)
        return self._passed(active, "expanded_conv_depthwise_relu", "expanded_conv_project_BN")

    def _block(self, block: int, axes: np.ndarray, carried: np.ndarray) -> np.ndarray:
        name, before, after = f"block_{block}", self.outputs[block - 1], self.outputs[block]
        chosen = self._chosen(name, axes)
        self._fit(f"{name}_expand", f"{name}_expand_BN", carried, self.rows[f"{name}_expand_BN"][:, chosen])
        expanded = self._passed(carried, before, f"{name}_expand_relu")
        active = self._copy(f"{name}_depthwise", f"{name}_depthwise_BN", chosen, expanded, f"{name}_expand_relu")
        adds = after.endswith("_add")
        wanted = self.rows[after] @ axes - (_at(carried, self.draws) if adds else 0.0)
        self._fit(f"{name}_project", f"{name}_project_BN", active, wanted)
        projected = self._passed(active, f"{name}_depthwise_relu", f"{name}_project_BN")
        return carried + projected if adds else projected

    def _chosen(self, block: str, axes: np.ndarray) -> np.ndarray:
        """Indices of the teacher's channels to keep, chosen by contribution to the kept components."""
        rows = self.rows[f"{block}_depthwise_relu"]
        (kernel,) = self.teacher.get_layer(f"{block}_project").get_weights()
        normalisation = self.teacher.get_layer(f"{block}_project_BN")
        gamma, _, _, variance = normalisation.get_weights()
        reach = np.linalg.norm((kernel[0, 0] * gamma / np.sqrt(variance + normalisation.epsilon)) @ axes, axis=1)
        kept = self.student.get_layer(f"{block}_depthwise_relu").output.shape[-1]
        order = scipy.linalg.qr((rows - rows.mean(axis=0)) * reach, mode="r", pivoting=True)[1]
        return np.sort(order[:kept])

    def _copy(
        self, convolution: str, normalisation: str, chosen: np.ndarray, inputs: np.ndarray, source: str
    ) -> np.ndarray:
        """Keep some channels of a convolution, with the student's own statistics; returns the activations."""
        (kernel,) = self.teacher.get_layer(convolution).get_weights()
        kernel = kernel[:, :, chosen] if convolution.endswith("depthwise") else kernel[..., chosen]
        self.student.get_layer(convolution).set_weights([kernel])
        gamma, beta, _, _ = (values[chosen] for values in self.teacher.get_layer(normalisation).get_weights())
        convolved = self._passed(inputs, source, convolution)
        mean, variance = convolved.mean(axis=(0, 1, 2)), convolved.var(axis=(0, 1, 2))
        self.student.get_layer(normalisation).set_weights([gamma, beta, mean, variance])
        activation = "Conv1_relu" if convolution == "Conv1" else f"{convolution}_relu"
        return self._passed(convolved, convolution, activation)

    def _fit(self, convolution: str, normalisation: str, inputs: np.ndarray, wanted: np.ndarray) -> None:
        """Fit a 1x1 convolution and its normalisation by least squares from `inputs` to `wanted`."""
        rows = _at(inputs, self.draws)
        centred = (rows - rows.mean(axis=0)).astype(np.float64)
        gram = centred.T @ centred
        gram += RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
        kernel = np.linalg.solve(gram, centred.T @ (wanted - wanted.mean(axis=0)))
        self.student.get_layer(convolution).set_weights([kernel[None, None]])
        convolved = rows @ kernel
        layer, variance = self.student.get_layer(normalisation), convolved.var(axis=0)
        layer.set_weights([np.sqrt(variance + layer.epsilon), wanted.mean(axis=0), convolved.mean(axis=0), variance])

    def _passed(self, inputs: np.ndarray, source: str, target: str) -> np.ndarray:
        """Run the student from the output of one layer to another; no source means the images."""
        first = self.student.get_layer(source).output if source else self.student.input
        part = keras.Model(first, self.student.get_layer(target).output)
        batches = (inputs[start : start + BATCH] for start in range(0, len(inputs), BATCH))
        return np.concatenate([keras.ops.convert_to_numpy(part(batch, training=False)) for batch in batches])


def _at(maps: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Values at drawn places: maps (n, rows, columns, c), draws in [0, 1) (n, places), to (n * places, c)."""
    flat = maps.reshape(len(maps), -1, maps.shape[-1])
    places = (draws * flat.shape[1]).astype(int)
    return np.take_along_axis(flat, places[..., None], axis=1).reshape(-1, flat.shape[-1])
