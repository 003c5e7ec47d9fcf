/** Words that make a name secret wherever they stand in it: `passwordConfirmation`, `userJwt`. */
const secretWords = new Set(
  [
    'password passwords passwd passphrase passcode pwd secret secrets token tokens jwt credential credentials authorization cookie cookies',
    'cvv cvc csc ssn iban otp totp pin mnemonic apikey apikeys accesskey privatekey secretkey requirepass masterauth psk',
    'passwort kennwort contraseña contrasena senha wachtwoord hasło пароль 密码 密碼 口令 パスワード 비밀번호',
  ].flatMap((line) => line.split(' ')),
)

/** Two words in a row that do. */
const secretPairs = new Set(
  'api key|api keys|access key|account key|private key|secret key|signing key|encryption key|master key|session id|session key|card number|credit card|debit card|seed phrase|raw headers|auth key|app key|application key|shared key|subscription key|functions key|license key|hmac key|security code|verification code|recovery code|recovery codes|backup code|backup codes|code verifier|saml response'.split(
    '|',
  ),
)

/** Whole names, and ends of names that were written without any mark between their words. */
const secretNames = new Set([
  'auth',
  'sid',
  'sig',
  'pass',
  'pw',
  'bearer',
  'motdepasse',
  'connectsid',
  'xamzsignature',
  'xgoogsignature',
  'xosssignature',
  'cloudfrontsignature',
  'clientkeydata',
  'hostsession',
  'securesession',
  'laravelsession',
  ...'db,user,ftp,smtp,mail,root,admin'.split(',').flatMap((whose) => [`${whose}pass`, `${whose}pw`]),
  'cardnumber',
  'rawheaders',
  'sessionid',
  'session',
])
const secretEnds = [
  'password,passwords,passwd,passphrase,secret,secrets,token,apikey,apikeys,accesskey,privatekey,secretkey,signingkey,encryptionkey',
  'credential,credentials,authorization,cookie,cookies,sessionid,sessid',
].flatMap((line) => line.split(','))

/** A last word that says: this is about a secret, not one. `tokenCount`, `secretName`, `passwordPolicy`, `tokenExpiresAt`. */
const aboutOne = new Set(
  (
    'count counts total length len size limit limits type types policy policies ttl ms seconds expiry expires expired expiration at age url uri endpoint ' +
    'path file name names domain version required enabled disabled status state error errors strength rules algorithm issuer provider bucket buckets usage'
  ).split(' '),
)
/** Tokens of a language model are counted, not kept. */
const quantities = new Set('max min total num prompt completion input output used remaining cached'.split(' '))

const word = /\p{Lu}+(?!\p{Ll})|\p{Lu}?[\p{Ll}\p{Lo}]+|\d+/gu
/** Longer names are judged by their two ends. */
const longestName = 128

/** Name without case and separators, as names are compared. */
export function plainName(name: string): string {
  return name.toLowerCase().replaceAll(/[^\p{L}\p{N}]/gu, '')
}

/** Judges names by their words. What strangers choose is judged each time and not kept: names of usual length only, in a bounded memory. */
export class SecretNames {
  readonly #own: ReadonlySet<string>
  readonly #allowed: ReadonlySet<string>
  #recent = new Map<string, boolean>()
  #older = new Map<string, boolean>()

  constructor(own: readonly string[] = [], allowed: readonly string[] = []) {
    this.#own = new Set(own.map(plainName))
    this.#allowed = new Set(allowed.map(plainName))
  }

  has(name: string): boolean {
    if (name.length > longestName) return this.#judge(name.slice(0, longestName)) || this.#judge(name.slice(-longestName))
    let known = this.#recent.get(name)
    if (known !== undefined) return known
    known = this.#older.get(name) ?? this.#judge(name)
    if (this.#recent.size >= 1_000) {
      this.#older = this.#recent
      this.#recent = new Map()
    }
    this.#recent.set(name, known)
    return known
  }

  #judge(name: string): boolean {
    const plain = plainName(name)
    if (this.#allowed.has(plain)) return false
    if (this.#own.has(plain) || secretNames.has(plain)) return true
    const words = name.match(word)?.map((each) => each.toLowerCase()) ?? []
    const last = words.at(-1) ?? ''
    if (words.length > 1 && aboutOne.has(last)) return false
    if (last === 'tokens' && words.some((each) => quantities.has(each))) return false
    if (words.length > 1 && (last === 'pass' || last === 'pw')) return true
    if (words.some((each, index) => secretWords.has(each) || secretPairs.has(`${each} ${words[index + 1]}`))) return true
    return secretEnds.some((end) => plain.endsWith(end))
  }
}
