// The D-Bus library, to be loaded at the first call to systemd. It is a CommonJS package: imported by a dynamic import
// itself, it would have no named exports in the bundle.
export { createClient } from 'dbus-native'
