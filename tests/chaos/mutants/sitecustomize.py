"""Loaded by every Python process that finds this folder on its path: breaks treadle in the one way that was asked for."""

import importlib
import os

importlib.import_module(os.environ["CHAOS_MUTANT"])
