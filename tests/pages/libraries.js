// Versions of Backbone
// --------------------
//
// Each version with the jQuery and underscore of its time: paths in node_modules.

const JQUERY = {
  1.6: 'jquery-1.6/node-jquery.js', 1.7: 'jquery-1.7/tmp/jquery.js', 1.8: 'jquery-1.8/tmp/jquery.js', 1.9: 'jquery-1.9/jquery.js',
  1.12: 'jquery-1.12/dist/jquery.js', 2: 'jquery-2/dist/jquery.js', 3: 'jquery-3/dist/jquery.js', 4: 'jquery/dist/jquery.js'
};
const UNDERSCORE = version => `underscore-${version}/underscore.js`;
const BACKBONE = version => `backbone-${version}/backbone.js`;

const VERSIONS = {
  '0.5.3': [UNDERSCORE('1.1'), JQUERY['1.6'], BACKBONE('0.5.3')],
  '0.9.2': [UNDERSCORE('1.3'), JQUERY['1.7'], BACKBONE('0.9.2')],
  '0.9.9': [UNDERSCORE('1.4'), JQUERY['1.8'], BACKBONE('0.9.9')],
  '0.9.10': [UNDERSCORE('1.4'), JQUERY['1.8'], BACKBONE('0.9.10')],
  '1.0.0': [UNDERSCORE('1.4'), JQUERY['1.9'], BACKBONE('1.0.0')],
  '1.1.2': [UNDERSCORE('1.6'), JQUERY[2], BACKBONE('1.1.2')],
  '1.2.3': [UNDERSCORE('1.8'), JQUERY['1.12'], BACKBONE('1.2.3')],
  '1.3.3': [UNDERSCORE('1.8'), JQUERY[3], BACKBONE('1.3.3')],
  '1.4.1': ['underscore/underscore-umd.js', JQUERY[3], BACKBONE('1.4.1')],
  '1.6.1': ['underscore/underscore-umd.js', JQUERY[4], 'backbone/backbone.js']
};

// The jQuery 1.6 of npm is a module. It sets `window.jQuery` as well.
const MODULE = '<script>var module = {};</script>';

const nameOf = version => version.replace(/\./g, '_');
