"""Drawn images of flowers: deterministic, free to ship.

Each module imports only modules above it:
    species        parameters of a species: pure data
    catalogue      daisy, dandelion, roses, sunflowers, tulips, and made-up species
    facets         polygons, and flat parts: stems, leaves, blades
    blossoms       petals, discs and seed heads in space, seen from any angle
    light          lens, light and sensor; `Conditions` sets how hard the images are
    surroundings   what is behind, before and beside a flower
    scene          one image
    folder         a whole data set, resumable

Each image has a random stream of its own, seeded by (seed, species, index), whatever others are drawn. The same
versions of Pillow and NumPy give the same bytes.
"""

from kit.synthetic.catalogue import species_names
from kit.synthetic.folder import DemoData, draw_flower, write_data_set

__all__ = ["DemoData", "draw_flower", "species_names", "write_data_set"]
