"""`transferkit demo`: all of transferkit on drawn images. Nothing else imports this package."""
