"""HelixLab: interactive helical reconstruction for cryo-EM."""
