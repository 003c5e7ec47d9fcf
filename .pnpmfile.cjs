/** What a published manifest says to its reader: how the package is built and tested here, by which private packages, is not part of it. */
module.exports = {
  hooks: {
    beforePacking(manifest) {
      delete manifest.devDependencies
      delete manifest.scripts
      return manifest
    },
  },
}
