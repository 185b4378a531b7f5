"""What pyproject.toml cannot say: two packages hold documents and studies, and no code."""

from setuptools import setup
from setuptools.command.build_py import build_py

WITHOUT_CODE = ("harness.docs", "harness.studies")


class BuildWithoutTheirCode(build_py):
    """Leaves docs/conf.py, which builds the site, out of what is installed."""

    def find_package_modules(self, package, package_dir):
        """Returns the modules of a package: (package, module, file) each."""
        if package in WITHOUT_CODE:
            return []
        return super().find_package_modules(package, package_dir)


setup(cmdclass={"build_py": BuildWithoutTheirCode})
