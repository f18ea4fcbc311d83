import { checkHere } from './app.ts'

checkHere().then(console.log)
