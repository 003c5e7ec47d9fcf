/** This repository's own runs may bring missing servers to the machine; it is said aloud, and PLATFORM_STACK_INSTALL=0 forbids it. */
export function allowInstalls(): void {
  if (process.env['PLATFORM_STACK_INSTALL'] !== undefined) return
  process.env['PLATFORM_STACK_INSTALL'] = '1'
  console.log(
    'Missing servers are pulled as images or, as root on Debian, installed from the distribution; PLATFORM_STACK_INSTALL=0 forbids it.',
  )
}
