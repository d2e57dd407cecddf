// What people put where a .dockerconfigjson belongs: the Secret around it, its base64, another of its forms. The
// message names each of them, with the command that makes the file. Pure; no value of the file ever stands in a
// message.

const EXTRACT = "kubectl get secret NAME -o jsonpath='{.data.\\.dockerconfigjson}' | base64 -d"

/** Why JSON that was read is no docker config, where it is the thing around one. */
export function wrapping(value: { readonly [key: string]: unknown }): string | undefined {
  const names = Object.keys(value)
  if (value['kind'] === 'Secret' || value['kind'] === 'List')
    return `it is a whole ${value['kind'] === 'Secret' ? 'Secret' : 'list of objects'}, not the value in it: ${EXTRACT}`
  if (names.includes('.dockerconfigjson') || names.includes('.dockercfg'))
    return `it is the data of a Secret, not the value in it: ${EXTRACT}`
  return undefined
}

/** What text that is no JSON object may be: said after "it is not JSON". */
export function misplaced(text: string): string {
  const bare = text.trim()
  if (bare === '') return ': the file is empty'
  if (text.startsWith('\uFEFF')) return ': it starts with a byte order mark, which the kubelet does not read'
  if (/^kind:\s*["']?Secret\b/m.test(text) || /^\s*["']?\.dockerc(onfigjson|fg)["']?\s*:/m.test(text))
    return `: it is the manifest of a Secret, not the value in it: ${EXTRACT}`
  if (/^auths\s*:/m.test(text)) return ': it is YAML, and the kubelet reads JSON here'
  const layers = layersOfBase64(bare)
  if (layers === 1) return ': it is base64 of the JSON (as in the data of a Secret): decode it once'
  if (layers > 1) return `: it is base64 of base64 of the JSON: decode it ${layers} times`
  if (/^".*\\"auths\\".*"$/s.test(bare)) return ': it is JSON in a JSON text: take the quotes and backslashes off'
  return ''
}

/** How often the text must be decoded until an object stands there; 0: it never does. */
function layersOfBase64(text: string): number {
  let current = text
  for (let layer = 1; layer <= 3; layer += 1) {
    const joined = current.replace(/\s+/g, '')
    if (!/^[A-Za-z0-9+/]{8,}={0,2}$/.test(joined)) return 0
    current = Buffer.from(joined, 'base64').toString('utf8').trim()
    if (current.startsWith('{')) return layer
  }
  return 0
}
