"""The packages: those that are found, and beside them the property files, which setup.cfg cannot say."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["recbole_microlens*"]), "recbole_microlens.properties"])
