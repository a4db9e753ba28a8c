"""The interactive layer of HelixLab: views for JupyterLab. No science in here."""
