"""Photos of flowers that nobody took: drawn, deterministic, free to ship.

Who owns what, in the order of the arrows:
    species     what daisies, dandelions, roses, sunflowers, tulips and made-up species look like: pure data
    shapes      petals, discs, seed heads, stems and leaves as small facets, seen from any angle
    light       lens, light and sensor; `Conditions` says how hard the photos are
    scene       backdrop, plants, clutter: one photo
    folder      a whole data set, resumable

Each photo is drawn from a random stream of its own, seeded by (seed, species, index): it does not depend on how many
others are drawn, or in which order. The same versions of Pillow and NumPy give the same bytes.
"""

from kit.data.synthetic.folder import DemoData, draw_flower, write_data_set
from kit.data.synthetic.species import species_names

__all__ = ["DemoData", "draw_flower", "species_names", "write_data_set"]
