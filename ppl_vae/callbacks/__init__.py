"""Callbacks of `fit` that write a training to the files of another program, while it lasts."""

from ppl_vae.callbacks.csv import CSV
from ppl_vae.callbacks.logger import Logger
from ppl_vae.callbacks.mlflow import MLflow
from ppl_vae.callbacks.tensorboard import TensorBoard
from ppl_vae.callbacks.wandb import WandB

__all__ = ["CSV", "Logger", "MLflow", "TensorBoard", "WandB"]
