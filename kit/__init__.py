"""What trains one model: a folder of images in, a scored classifier out (see docs/how-it-works.md)."""
