// All clients in this folder use this file for their environment and the format of their output.
export const { IGPROXY, CLIENT_ID, REDIRECT_URI, CODE, SHORT, BAD_CODE, BAD_TOKEN } = process.env;

export const report = (got) => console.log(JSON.stringify(got));

// refused calls a function that must fail and returns the error.
export const refused = async (call) => {
  try {
    await call();
  } catch (error) {
    return error;
  }
  throw new Error('it did not fail');
};
