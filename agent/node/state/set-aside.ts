// The name of what is set aside in the state folder: one shape, by which it is found again and reported until it is
// removed.
const SET_ASIDE = /\.damaged-\d{8}T\d{9}Z$/

/** NAME.damaged-TIME; `now` in milliseconds since 1970. */
export function setAsideName(name: string, now: number): string {
  return `${name}.damaged-${new Date(now).toISOString().replaceAll(/[-:.]/g, '')}`
}

export function isSetAside(name: string): boolean {
  return SET_ASIDE.test(name)
}
