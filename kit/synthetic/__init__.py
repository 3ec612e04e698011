"""Images of flowers that nobody took: drawn, deterministic, free to ship.

Who owns what, in the order of the arrows:
    species        what describes a species: pure data
    catalogue      daisy, dandelion, roses, sunflowers, tulips, and made-up species
    facets         polygons, and what is flat: stems, leaves, blades
    heads          petals, discs and seed heads, built in space and seen from any angle
    light          lens, light and sensor; `Conditions` says how hard the images are
    surroundings   what is behind, before and beside a flower
    scene          one image
    folder         a whole data set, resumable

Each image is drawn from a random stream of its own, seeded by (seed, species, index): it does not depend on how many
others are drawn, or in which order. The same versions of Pillow and NumPy give the same bytes.
"""

from kit.synthetic.catalogue import species_names
from kit.synthetic.folder import DemoData, draw_flower, write_data_set

__all__ = ["DemoData", "draw_flower", "species_names", "write_data_set"]
