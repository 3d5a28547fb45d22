// The clients in this folder share this module, except the intercepted clients, which share
// intercepted.mjs.
export const { IGPROXY, CLIENT_ID, REDIRECT_URI, CODE, SHORT, BAD_CODE, BAD_TOKEN } = process.env;

export const report = (got) => console.log(JSON.stringify(got));

// refused calls a function that must fail, and returns its error.
export const refused = async (call) => {
  try {
    await call();
  } catch (error) {
    return error;
  }
  throw new Error('the call did not fail');
};
