"""The list of packages, which setup.cfg cannot say: those that are found, and the property files beside them."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["recbole_microlens*"]), "recbole_microlens.properties"])
