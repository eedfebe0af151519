"""The packages: those that are found, and the property files beside them, which setup.cfg alone cannot say."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["recbole_microlens*"]), "recbole_microlens.properties"])
