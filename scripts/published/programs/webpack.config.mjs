/** One CommonJS file for Node. */
export default {
  mode: 'production',
  target: 'node22',
  entry: './everything.mjs',
  output: { path: new URL('bundles', import.meta.url).pathname, filename: 'webpack.cjs' },
  // What pg and others would take if it were installed.
  externals: { 'pg-native': 'commonjs pg-native' },
}
